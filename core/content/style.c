#include "content.h"

/* Refuse and accept are one class: neither may look like the better answer. */
static const char style[] =
    ":root{color-scheme:light dark}\n"
    "body{margin:0;font:1rem/1.5 system-ui,sans-serif;color:CanvasText;background:Canvas}\n"
    "main{max-width:44rem;margin:0 auto;padding:1.5rem 1rem 4rem}\n"
    "h1{font-size:1.6rem;line-height:1.2}\nh2{font-size:1.2rem;margin-top:2rem}\n"
    "fieldset{border:1px solid GrayText;border-radius:.4rem;margin:1rem 0;padding:.5rem 1rem "
    "1rem}\n"
    "legend{font-weight:600;padding:0 .4rem}\n"
    ".about{margin:.3rem 0;font-size:.9rem}\n"
    ".notice{border-left:.3rem solid Highlight;padding:.5rem .8rem;margin:1rem 0}\n"
    ".choice{display:flex;flex-wrap:wrap;gap:.8rem;margin:1rem 0}\n"
    "button{font:inherit;min-width:11rem;padding:.6rem 1rem;border:2px solid ButtonText;"
    "border-radius:.4rem;color:ButtonText;background:ButtonFace;cursor:pointer}\n"
    "button:focus-visible,input:focus-visible,a:focus-visible,summary:focus-visible"
    "{outline:3px solid Highlight;outline-offset:2px}\n"
    "label{display:inline-block;padding:.2rem 0}\n"
    "input[type=checkbox]{width:1.2rem;height:1.2rem;vertical-align:-.2rem;margin:0 .5rem 0 0}\n"
    "input[type=text]{font:inherit;padding:.3rem .5rem;width:6rem}\n"
    ".date{display:flex;flex-wrap:wrap;gap:1rem}\n.date label{display:flex;flex-direction:column}\n"
    "table{border-collapse:collapse;width:100%;font-size:.9rem}\n"
    "th,td{text-align:left;vertical-align:top;padding:.25rem .6rem .25rem "
    "0;overflow-wrap:anywhere}\n"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem "
    "1rem}\ndd{margin:0;overflow-wrap:anywhere}\n"
    "code{font-size:.95em}\n";

prv_str prv_page_style(void)
{
    return PRV_STR(style);
}

/* FNV-1a 64 of the text above; test_page fails when one changes without the other. */
prv_str prv_page_style_version(void)
{
    return PRV_STR("e4c71abf29f565f2");
}

/* Pages that the endpoints answer with: server-rendered, complete without JavaScript. HTML from env.alloc. */
#ifndef PRV_CONTENT_H
#define PRV_CONTENT_H

#include "../request/request.h"

typedef struct prv_page {
    const prv_request *rq;
    const prv_decision *d;
    const prv_http *http;
    prv_str return_path;    /* validated, or empty */
    prv_str form_token;     /* hidden field of a form, or empty */
    prv_str notice;         /* a sentence on top (answered already, cookies off, ...), or empty */
    bool confirm;           /* a refused form shown again with its values: the 403 page */
} prv_page;

prv_str prv_page_preferences(const prv_page *page);
prv_str prv_page_age(const prv_page *page);
prv_str prv_page_opt_out(const prv_page *page);
prv_str prv_page_explain(const prv_page *page, prv_str title, prv_str text);
/* The stylesheet and its content hash (hex) for a versioned URL. Static. */
prv_str prv_page_style(void);
prv_str prv_page_style_version(void);

#endif

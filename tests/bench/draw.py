"""Bars with their labels, legible on light and dark pages."""
from html import escape

ROW, LABEL, WIDTH, HEAD = 18, 190, 420, 30
STYLE = ("text { font: 12px sans-serif; fill: #24292f } .h { font-weight: bold } .b { fill: #8c959f } .g { fill: #0969da } .l { stroke: #8c959f }"
         " @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .b { fill: #6e7681 } .g { fill: #58a6ff } }")


def bars(groups):
    """groups: (title, [(name, ratio)]); the gate's bars stand out. One is as long as bare."""
    parts, y = [], 8
    for title, rows in groups:
        parts.append(f'<text class="h" x="4" y="{y + 14}">{escape(title)}</text>')
        y += HEAD - 6
        for name, ratio in rows:
            kind = "g" if name.startswith("gate") else "b"
            length = max(1, min(ratio, 1.2) * WIDTH / 1.2)
            parts.append(f'<text x="{LABEL - 6}" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
                         f'<rect class="{kind}" x="{LABEL}" y="{y + 3}" width="{length:.0f}" height="{ROW - 5}"/>'
                         f'<text x="{LABEL + length + 5:.0f}" y="{y + 13}">{ratio:.2f}</text>')
            y += ROW
        y += 10
    line = LABEL + WIDTH / 1.2
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{LABEL + WIDTH + 60}" height="{y}" role="img" aria-label="requests a second, bare is 1">'
            f'<style>{STYLE}</style><line class="l" x1="{line:.0f}" x2="{line:.0f}" y1="0" y2="{y}" stroke-dasharray="2 4"/>{"".join(parts)}</svg>\n')

/* SPDX-License-Identifier: Apache-2.0 */
/* The looks of the report. Colours follow the reader's choice of dark or light; every sign has a form of its
 * own as well, for print and for whoever does not tell colours apart. */
#include "page.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "timespan.h"

static const char style[] =
        ":root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--soft:#57606a;--line:#d0d7de;--card:#f6f8fa;"
        "--there:#2da44e;--late:#bf8700;--replaced:#0969da;--missing:#cf222e;--bar:#8c959f}"
        "@media(prefers-color-scheme:dark){:root{--bg:#0d1117;--fg:#e6edf3;--soft:#9198a1;--line:#30363d;--"
        "card:#161b22;"
        "--there:#3fb950;--late:#d29922;--replaced:#58a6ff;--missing:#ff7b72;--bar:#6e7681}}"
        "*{box-sizing:border-box}body{margin:0 "
        "auto;max-width:72rem;padding:1.5rem;background:var(--bg);color:var(--fg);"
        "font:16px/1.5 system-ui,sans-serif}"
        "h1{font-size:1.7rem;margin:0}h2{font-size:1.25rem;margin:2.2rem 0 .6rem;border-bottom:1px solid "
        "var(--line);"
        "padding-bottom:.3rem}h3{font-size:1rem;margin:1.4rem 0 .3rem}p{margin:.4rem "
        "0}.soft{color:var(--soft)}"
        "a{color:inherit}nav ul{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem}"
        ".skip{position:absolute;left:-100rem}.skip:focus{left:1rem}"
        ":focus-visible{outline:2px solid var(--replaced);outline-offset:2px}"
        ".scroll{overflow-x:auto;max-width:100%}table{border-collapse:collapse;width:100%;font-size:.92rem}"
        "caption{text-align:left;color:var(--soft);padding:.2rem 0}"
        "th,td{text-align:left;padding:.28rem .7rem .28rem 0;border-bottom:1px solid "
        "var(--line);vertical-align:top}"
        "td{overflow-wrap:anywhere}td:first-child{white-space:nowrap}.r{text-align:right;font-variant-"
        "numeric:tabular-nums;white-space:nowrap}"
        ".cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.8rem;margin:1rem "
        "0;padding:0;"
        "list-style:none}.cards li{background:var(--card);border:1px solid "
        "var(--line);border-radius:.5rem;padding:.7rem .9rem}"
        ".cards strong{display:block;font-size:1.35rem;line-height:1.3}"
        ".bad{color:var(--missing)}.good{color:var(--there)}"
        ".year{display:flex;align-items:center;gap:.6rem;margin:.25rem 0}.year "
        "span{width:2.6rem;font-size:.85rem;"
        "color:var(--soft)}.year svg{min-width:0;flex:1;max-width:60rem;height:auto;display:block}"
        ".key{display:flex;flex-wrap:wrap;gap:.2rem "
        "1.1rem;font-size:.85rem;color:var(--soft);list-style:none;padding:0}"
        ".key svg{width:.8rem;height:.8rem;vertical-align:-.08rem;margin-right:.35rem}"
        ".d0{fill:var(--line)}.d1{fill:var(--there)}.d2{fill:var(--late)}.d3{fill:var(--replaced)}"
        ".m{font:7px "
        "system-ui,sans-serif;fill:var(--soft)}.d4{fill:none;stroke:var(--missing);stroke-width:1.6}"
        ".bar{display:block;height:.75rem;background:var(--bar);border-radius:.15rem;min-width:1px}"
        "@media "
        "print{body{max-width:none;padding:0;font-size:11pt}nav,.skip{display:none}h2{break-after:avoid}"
        "tr,.year,.cards li{break-inside:avoid}.scroll{overflow:visible}"
        "*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}";

void page_text(struct strbuf *b, const char *s)
{
        for (; *s; s++)
                if (*s == '&')
                        strbuf_add(b, "&amp;");
                else if (*s == '<')
                        strbuf_add(b, "&lt;");
                else if (*s == '>')
                        strbuf_add(b, "&gt;");
                else if (*s == '"')
                        strbuf_add(b, "&quot;");
                else if (*s == '\'')
                        strbuf_add(b, "&#39;");
                else if ((unsigned char)*s >= 0x20 && *s != 0x7f)
                        strbuf_add_n(b, s, 1);
}

void page_open(struct strbuf *b, const char *title, const char *subtitle)
{
        strbuf_add(b, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
                      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';"
                      "style-src 'unsafe-inline';img-src data:\">"
                      "<link rel=\"icon\" href=\"data:,\"><title>");
        page_text(b, title);
        strbuf_add(b, "</title><style>");
        strbuf_add(b, style);
        strbuf_add(
                b, "</style></head>\n<body><a class=\"skip\" href=\"#main\">To the content</a><header><h1>");
        page_text(b, title);
        strbuf_add(b, "</h1><p class=\"soft\">");
        page_text(b, subtitle);
        strbuf_add(b, "</p></header>\n");
}

void page_close(struct strbuf *b, const char *footer)
{
        strbuf_add(b, "</main><footer><p class=\"soft\">");
        page_text(b, footer);
        strbuf_add(b, "</p></footer></body></html>\n");
}

void page_heading(struct strbuf *b, unsigned level, const char *id, const char *text)
{
        strbuf_printf(b, "\n<h%u", level);
        if (id)
                strbuf_printf(b, " id=\"%s\"", id);
        strbuf_add(b, ">");
        page_text(b, text);
        strbuf_printf(b, "</h%u>\n", level);
}

/* --- tables --- */

void page_table_open(struct strbuf *b, const char *caption, const char *columns)
{
        _cleanup_free_ char *copy = strdup(columns);
        strbuf_add(b, "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"");
        page_text(b, caption);
        strbuf_add(b, "\"><table><caption>");
        page_text(b, caption);
        strbuf_add(b, "</caption><thead><tr>");
        for (char *rest = copy, *name; (name = strsep(&rest, "|"));) {
                strbuf_printf(b, "<th scope=\"col\"%s>", *name == '>' ? " class=\"r\"" : "");
                page_text(b, name + (*name == '>'));
                strbuf_add(b, "</th>");
        }
        strbuf_add(b, "</tr></thead><tbody>\n");
}

void page_cell(struct strbuf *b, bool right, const char *format, ...)
{
        char *text = NULL;
        va_list ap;
        va_start(ap, format);
        int n = vasprintf(&text, format, ap);
        va_end(ap);
        if (n < 0) {
                b->err = -ENOMEM;
                return;
        }
        strbuf_add(b, right ? "<td class=\"r\">" : "<td>");
        page_text(b, text);
        strbuf_add(b, "</td>");
        free(text);
}

void page_table_close(struct strbuf *b)
{
        strbuf_add(b, "</tbody></table></div>\n");
}

/* --- calendars --- */

const char *const page_day_names[DAY_KINDS] = {
        [DAY_NONE] = "no file, and none expected",
        [DAY_THERE] = "there",
        [DAY_LATE] = "came late",
        [DAY_REPLACED] = "was replaced",
        [DAY_MISSING] = "missing",
};

/* In a cell of 10 at (x, y): by size and form as well as by colour. */
static void draw_day(struct strbuf *b, int x, int y, enum page_day kind)
{
        switch (kind) {
        case DAY_NONE:
                strbuf_printf(
                        b, "<rect class=\"d0\" x=\"%d\" y=\"%d\" width=\"4\" height=\"4\"/>", x + 2, y + 2);
                break;
        case DAY_THERE:
                strbuf_printf(b, "<rect class=\"d1\" x=\"%d\" y=\"%d\" width=\"8\" height=\"8\"/>", x, y);
                break;
        case DAY_LATE:
                strbuf_printf(b, "<path class=\"d2\" d=\"M%d %dh8v8z\"/>", x, y);
                break;
        case DAY_REPLACED:
                strbuf_printf(b, "<circle class=\"d3\" cx=\"%d\" cy=\"%d\" r=\"4\"/>", x + 4, y + 4);
                break;
        case DAY_MISSING:
                strbuf_printf(b, "<path class=\"d4\" d=\"M%d %dl7 7m0-7l-7 7\"/>", x, y);
                break;
        case DAY_KINDS:
                break;
        }
}

/* Above the week in which each month begins. */
static void draw_months(struct strbuf *b, int year, int first, int offset)
{
        static const char *const names[] = {
                "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
        for (unsigned m = 0; m < ELEMENTSOF(names); m++) {
                char text[32];
                int day;
                snprintf(text, sizeof(text), "%04d-%02u-01", year, m + 1);
                if (date_parse(text, &day) == 0)
                        strbuf_printf(b, "<text class=\"m\" x=\"%d\" y=\"-3\">%s</text>",
                                (day - first + offset) / 7 * 10, names[m]);
        }
}

void page_year(struct strbuf *b, int year, const uint8_t *kinds, const char *label)
{
        char text[32];
        int first = 0, next = 0;
        snprintf(text, sizeof(text), "%04d-01-01", year);
        date_parse(text, &first);
        snprintf(text, sizeof(text), "%04d-01-01", year + 1);
        date_parse(text, &next);
        /* Monday is 0; 1970-01-01 was a Thursday */
        int offset = (first + 3) % 7;
        strbuf_printf(b,
                "<div class=\"year\"><span>%d</span><svg viewBox=\"0 -10 540 80\" role=\"img\" aria-label=\"",
                year);
        page_text(b, label);
        strbuf_add(b, "\">");
        draw_months(b, year, first, offset);
        for (int d = 0; d < next - first; d++)
                draw_day(b, (d + offset) / 7 * 10, (d + offset) % 7 * 10, (enum page_day)kinds[d]);
        strbuf_add(b, "</svg></div>\n");
}

void page_legend(struct strbuf *b)
{
        strbuf_add(b, "<ul class=\"key\">");
        for (enum page_day k = DAY_NONE; k < DAY_KINDS; k++) {
                strbuf_add(b, "<li><svg viewBox=\"0 0 8 8\" aria-hidden=\"true\">");
                draw_day(b, 0, 0, k);
                strbuf_add(b, "</svg>");
                page_text(b, page_day_names[k]);
                strbuf_add(b, "</li>");
        }
        strbuf_add(b, "</ul>\n");
}

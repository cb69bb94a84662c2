/* SPDX-License-Identifier: Apache-2.0 */
/* The looks of the report. Colours follow the reader's choice of dark or light; every sign has a form of its
 * own as well, for print and for whoever does not tell colours apart. */
#include "page.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "name.h"
#include "timespan.h"

/* clang-format off */
static const char style[] =
        ":root{color-scheme:light dark;--bg:#fdfdfc;--fg:#1c2024;--soft:#596066;--line:#dfe2e5;--card:#fff;"
        "--accent:#1f5f8b;--there:#3a8f5c;--late:#b97a00;--replaced:#2f6fb7;--refused:#8250b5;"
        "--missing:#c62a34;--wash:#fdf0ef;--fine:#eef7f1}"
        "@media (prefers-color-scheme:dark){:root{--bg:#14171a;--fg:#e7e9ea;--soft:#a0a8ae;--line:#33383d;"
        "--card:#1b1f23;--accent:#7cb8e4;--there:#48a873;--late:#dba02b;--replaced:#6aa7ec;"
        "--refused:#b68be0;--missing:#ff7d78;--wash:#2b1b1c;--fine:#16251c}}*{box-sizing:border-box}"
        "html{-webkit-text-size-adjust:100%}"
        "body{margin:0 auto;max-width:68rem;padding:2.2rem 1.5rem 3rem;background:var(--bg);"
        "color:var(--fg);"
        "font:16px/1.55 system-ui,-apple-system,\"Segoe UI\",Roboto,\"Helvetica Neue\",sans-serif;"
        "font-variant-numeric:tabular-nums}header{border-top:4px solid var(--accent);padding-top:1rem}"
        "h1{font-size:2rem;line-height:1.2;letter-spacing:-.015em;margin:0}"
        "h2{font-size:1.35rem;line-height:1.3;margin:3rem 0 .8rem;padding-bottom:.35rem;"
        "border-bottom:1px solid var(--line)}h3{font-size:1.02rem;margin:1.6rem 0 .4rem}"
        "p{margin:.4rem 0;max-width:46rem}.soft{color:var(--soft)}.small{font-size:.88rem}"
        "a{color:var(--accent)}"
        "nav ul{list-style:none;padding:0;margin:1rem 0;display:flex;flex-wrap:wrap;gap:.3rem 1.4rem}"
        ".skip{position:absolute;left:-100rem}.skip:focus{left:1rem;top:.3rem}"
        ":focus-visible{outline:3px solid var(--accent);outline-offset:3px;border-radius:2px}"
        ".verdict{border-left:5px solid var(--there);background:var(--fine);border-radius:.3rem;"
        "padding:.8rem 1.1rem;margin:1.2rem 0}"
        ".verdict.look{border-color:var(--missing);background:var(--wash)}"
        ".verdict h2{font-size:1.1rem;font-weight:600;margin:0;padding:0;border:0}"
        ".verdict ul{margin:.4rem 0 0;padding-left:1.2rem}"
        ".cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.2rem,1fr));gap:.8rem;"
        "margin:1.2rem 0;padding:0;list-style:none}"
        ".cards li{background:var(--card);border:1px solid var(--line);border-radius:.5rem;"
        "padding:.8rem 1rem;color:var(--soft);font-size:.9rem;line-height:1.35}"
        ".cards strong{display:block;font-size:1.2rem;line-height:1.3;color:var(--fg);font-weight:650;"
        "white-space:nowrap}.cards .bad{color:var(--missing)}.scroll{overflow-x:auto}"
        "table{border-collapse:collapse;width:100%;font-size:.93rem}"
        "caption{text-align:left;color:var(--soft);padding:.2rem 0 .5rem}"
        "th,td{text-align:left;padding:.36rem .9rem .36rem 0;border-bottom:1px solid var(--line);"
        "vertical-align:top}thead th{color:var(--soft);font-weight:600;font-size:.85rem}"
        "tbody th{font-weight:400;white-space:nowrap}.date{white-space:nowrap}"
        "td{overflow-wrap:anywhere}td:nth-last-child(-n+2){white-space:nowrap}"
        ".r{text-align:right;white-space:nowrap}th:last-child,td:last-child{padding-right:0}"
        ".notes{list-style:none;padding:0;margin:.6rem 0}"
        ".notes li{border:1px solid var(--line);border-left:4px solid var(--line);border-radius:.4rem;"
        "background:var(--card);padding:.6rem .9rem;margin:.6rem 0;overflow-wrap:anywhere}"
        ".notes strong{display:block}.year{display:flex;align-items:flex-start;gap:.6rem;margin:.5rem 0}"
        ".year>span{width:2.7rem;font-size:.88rem;color:var(--soft);padding-top:.8rem}"
        ".year>div{flex:1;min-width:0;display:flex;flex-wrap:wrap;max-width:58rem}"
        ".year svg{display:block;flex:1 1 17rem;min-width:0;height:auto}"
        ".key{display:flex;flex-wrap:wrap;gap:.25rem 1.3rem;font-size:.88rem;color:var(--soft);"
        "list-style:none;padding:0;margin:.6rem 0}"
        ".key svg{width:.85rem;height:.85rem;vertical-align:-.1rem;margin-right:.4rem}.d1{fill:var(--line)}"
        ".d2{fill:var(--there)}.d3{fill:var(--late)}.d4{fill:var(--replaced)}"
        ".d5{fill:none;stroke:var(--refused);stroke-width:2}"
        ".d6{fill:none;stroke:var(--missing);stroke-width:1.8}"
        ".m{font:7px system-ui,sans-serif;fill:var(--soft)}"
        ".chart{display:block;width:100%;max-width:58rem;height:8rem;margin:.4rem 0 1rem;"
        "border-bottom:1px solid var(--line)}.chart rect{fill:var(--accent)}.chart .x{fill:var(--missing)}"
        "details{margin:.3rem 0}summary{cursor:pointer;color:var(--accent);padding:.5rem 0}"
        "footer{margin-top:3rem;padding-top:.8rem;border-top:1px solid var(--line)}"
        "@media (max-width:40rem){body{padding:1.2rem 1rem 2rem}h1{font-size:1.6rem}h2{margin-top:2.2rem}"
        ".cards{grid-template-columns:1fr 1fr;gap:.6rem}.cards strong{font-size:1.15rem}"
        "table{font-size:.82rem}thead th{font-size:.78rem}th,td{padding-right:.45rem}.year .none{display:none}"
        ".year{display:block}.year>span{padding:0;font-weight:600}"
        ".year svg{flex-basis:100%;margin-bottom:.4rem}}"
        "@media print{:root{--bg:#fff;--fg:#000;--soft:#444;--line:#bbb;--card:#fff;--wash:#fdf0ef;"
        "--fine:#eef7f1}"
        /* what is at the very edge of the paper's area is cut */
        "body{max-width:none;padding:0 2px;font-size:10.5pt}nav,.skip{display:none}"
        ".cards{grid-template-columns:repeat(3,1fr)}summary{list-style:none;color:inherit}"
        "details::details-content{content-visibility:visible;height:auto;display:block}"
        "a{color:inherit;text-decoration:none}h2,h3,caption{break-after:avoid}"
        "tr,.year,.cards li,.notes li,.verdict{break-inside:avoid}.scroll{overflow:visible}"
        "*{-webkit-print-color-adjust:exact;print-color-adjust:exact}@page{margin:16mm}}";
/* clang-format on */

void page_text(struct strbuf *b, const char *s)
{
        while (*s) {
                char escape[5];
                size_t n;
                const char *from = name_shown_next(&s, escape, &n);
                if (*from == '&')
                        strbuf_add(b, "&amp;");
                else if (*from == '<')
                        strbuf_add(b, "&lt;");
                else if (*from == '>')
                        strbuf_add(b, "&gt;");
                else if (*from == '"')
                        strbuf_add(b, "&quot;");
                else if (*from == '\'')
                        strbuf_add(b, "&#39;");
                else
                        strbuf_add_n(b, from, n);
        }
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
        strbuf_add(b, "</main><footer><p class=\"soft small\">");
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
        bool head = b->len >= 4 && memcmp(b->s + b->len - 4, "<tr>", 4) == 0; /* names the row */
        strbuf_add(b, head ? "<th scope=\"row\">" : right ? "<td class=\"r\">" : "<td>");
        page_text(b, text);
        strbuf_add(b, head ? "</th>" : "</td>");
        free(text);
}

void page_table_close(struct strbuf *b)
{
        strbuf_add(b, "</tbody></table></div>\n");
}

/* --- notes --- */

void page_notes_open(struct strbuf *b)
{
        strbuf_add(b, "<ul class=\"notes\">\n");
}

void page_note(struct strbuf *b, const char *head, const char *text, const char *advice)
{
        strbuf_add(b, "<li><strong>");
        page_text(b, head);
        strbuf_add(b, "</strong>");
        page_text(b, text);
        if (!str_empty(advice)) {
                strbuf_add(b, "<br><span class=\"soft\">What to do: ");
                page_text(b, advice);
                strbuf_add(b, "</span>");
        }
        strbuf_add(b, "</li>\n");
}

void page_notes_close(struct strbuf *b)
{
        strbuf_add(b, "</ul>\n");
}

/* --- calendars --- */

#define CELL 10 /* a day is 8 wide, with 2 between */
#define HALF                                                                                                 \
        (27 * CELL) /* a year is at most 54 weeks wide, drawn as two halves: on a phone one below the other  \
                     */

const char *const page_day_names[DAY_KINDS] = {
        [DAY_OUTSIDE] = "before the first file, or still to come",
        [DAY_NONE] = "no file, and none expected",
        [DAY_THERE] = "there",
        [DAY_LATE] = "came late",
        [DAY_REPLACED] = "was replaced",
        [DAY_UNSTAGED] = "at edX, but not usable here",
        [DAY_MISSING] = "missing",
};

/* In a cell at (x, y): by size and form as well as by colour. */
static void draw_day(struct strbuf *b, int x, int y, enum page_day kind)
{
        switch (kind) {
        case DAY_NONE:
                strbuf_printf(
                        b, "<rect class=\"d1\" x=\"%d\" y=\"%d\" width=\"4\" height=\"4\"/>", x + 2, y + 2);
                break;
        case DAY_THERE:
                strbuf_printf(b, "<rect class=\"d2\" x=\"%d\" y=\"%d\" width=\"8\" height=\"8\"/>", x, y);
                break;
        case DAY_LATE:
                strbuf_printf(b, "<path class=\"d3\" d=\"M%d %dh8v8z\"/>", x, y);
                break;
        case DAY_REPLACED:
                strbuf_printf(b, "<circle class=\"d4\" cx=\"%d\" cy=\"%d\" r=\"4\"/>", x + 4, y + 4);
                break;
        case DAY_UNSTAGED:
                strbuf_printf(
                        b, "<rect class=\"d5\" x=\"%d\" y=\"%d\" width=\"6\" height=\"6\"/>", x + 1, y + 1);
                break;
        case DAY_MISSING:
                strbuf_printf(b, "<path class=\"d6\" d=\"M%d.5 %d.5l7 7m0-7l-7 7\"/>", x, y);
                break;
        case DAY_OUTSIDE:
        case DAY_KINDS:
                break;
        }
}

/* Above the week in which each month begins. */
static void draw_months(struct strbuf *b, int year, int first, int offset, int from)
{
        static const char *const names[] = {
                "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
        for (unsigned m = 0; m < ELEMENTSOF(names); m++) {
                char text[32];
                int day, x;
                snprintf(text, sizeof(text), "%04d-%02u-01", year, m + 1);
                if (date_parse(text, &day) < 0)
                        continue;
                x = (day - first + offset) / 7 * CELL;
                if (x >= from && x < from + HALF)
                        strbuf_printf(b, "<text class=\"m\" x=\"%d\" y=\"-3\">%s</text>", x, names[m]);
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
        strbuf_printf(b, "<div class=\"year\"><span>%d</span><div role=\"img\" aria-label=\"", year);
        page_text(b, label);
        strbuf_add(b, "\">");
        for (int from = 0; from <= HALF; from += HALF) {
                bool any = false;
                for (int d = 0; d < next - first; d++)
                        any |= kinds[d] != DAY_OUTSIDE && (d + offset) / 7 * CELL / HALF == from / HALF;
                strbuf_printf(b, "<svg%s viewBox=\"%d -10 %d 80\" aria-hidden=\"true\">",
                        any ? "" : " class=\"none\"", from, HALF);
                draw_months(b, year, first, offset, from);
                for (int d = 0; d < next - first; d++) {
                        int x = (d + offset) / 7 * CELL;
                        if (x >= from && x < from + HALF)
                                draw_day(b, x, (d + offset) % 7 * CELL, (enum page_day)kinds[d]);
                }
                strbuf_add(b, "</svg>");
        }
        strbuf_add(b, "</div></div>\n");
}

void page_legend(struct strbuf *b)
{
        strbuf_add(b, "<p class=\"soft small\">A square is a day, a column a week from Monday to Sunday.</p>"
                      "<ul class=\"key\" aria-label=\"Signs\">");
        for (enum page_day k = DAY_NONE; k < DAY_KINDS; k++) {
                strbuf_add(b, "<li><svg viewBox=\"0 0 8 8\" aria-hidden=\"true\">");
                draw_day(b, 0, 0, k);
                strbuf_add(b, "</svg>");
                page_text(b, page_day_names[k]);
                strbuf_add(b, "</li>");
        }
        strbuf_add(b, "</ul>\n");
}

/* --- charts --- */

#define BAR 9
#define CHART_HEIGHT 90

void page_chart(struct strbuf *b, const struct page_bar *bars, size_t n, const char *label)
{
        int64_t most = 1;
        int width = MAX((int)n, 26) * (BAR + 2);
        for (size_t i = 0; i < n; i++)
                most = MAX(most, bars[i].value);
        strbuf_printf(b,
                "<svg class=\"chart\" viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" role=\"img\" "
                "aria-label=\"",
                width, CHART_HEIGHT);
        page_text(b, label);
        strbuf_add(b, "\">");
        for (size_t i = 0; i < n; i++) {
                int h = MAX(1, (int)(MAX(bars[i].value, (int64_t)0) * CHART_HEIGHT / most));
                strbuf_printf(b, "<rect%s x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"><title>",
                        bars[i].bad ? " class=\"x\"" : "", (int)i * (BAR + 2), CHART_HEIGHT - h, BAR, h);
                page_text(b, bars[i].title);
                strbuf_add(b, "</title></rect>");
        }
        strbuf_add(b, "</svg>\n");
}

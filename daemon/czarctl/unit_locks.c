/* SPDX-License-Identifier: Apache-2.0 */
/* Reads `systemctl cat`: the unit file, then each drop-in in the order in which systemd reads them
 * (systemd.syntax(7)). */
#include "unit_locks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"

#define FILES_MOST (256 * 1024)

/* Of how it is started and kept running, which a command does otherwise. */
static bool is_lock(const char *line)
{
        static const char *const other[] = {"Type=", "Exec", "Restart",
                "WatchdogSec=", "NotifyAccess=", "Sockets=", "Timeout", "RuntimeDirectory", "StateDirectory",
                "StandardInput=", "StandardOutput=", "BusName="};
        for (size_t i = 0; i < ELEMENTSOF(other); i++)
                if (str_after(line, other[i]) && !str_after(line, "ExecPaths="))
                        return false;
        return strchr(line, '=') != NULL;
}

/* Takes the next line off *rest, those that end in a backslash joined: NULL at the end. */
static char *next_line(char **rest)
{
        char *line = *rest, *to = line, *from = line;
        if (!*line)
                return NULL;
        while (*from && *from != '\n') {
                if (from[0] == '\\' && from[1] == '\n') {
                        *to++ = ' ';
                        from += 2;
                } else {
                        *to++ = *from++;
                }
        }
        *rest = *from ? from + 1 : from;
        *to = 0;
        return line;
}

/* systemd-run takes "link-local" and its like alone only (bus_append_cgroup_property() in its
 * bus-unit-util.c). */
static bool is_list_of_addresses(const char *line)
{
        return str_after(line, "IPAddressAllow=") || str_after(line, "IPAddressDeny=");
}

static int add_property(struct strv *ret, const char *line)
{
        size_t name = strcspn(line, "=") + 1;
        const char *value = line + name;
        bool each = is_list_of_addresses(line);
        int r;
        do {
                size_t n = each ? strcspn(value, " \t") : strlen(value);
                _cleanup_free_ char *property =
                        str_printf("--property=%.*s%.*s", (int)name, line, (int)n, value);
                r = property ? strv_add(ret, property) : -ENOMEM;
                value += n;
                value += strspn(value, " \t");
        } while (r == 0 && *value);
        return r;
}

static int parse(char *text, struct strv *ret)
{
        bool inside = false;
        int r = 0;
        for (char *line; r == 0 && (line = next_line(&text));) {
                line += strspn(line, " \t");
                if (*line == '[')
                        inside = str_after(line, "[Service]") != NULL;
                if (!inside || *line == '#' || *line == ';' || !is_lock(line))
                        continue;
                r = add_property(ret, line);
        }
        return r;
}

int unit_locks(const char *unit, struct strv *ret)
{
        const char *argv[] = {"systemctl", "cat", "--no-pager", unit, NULL};
        _cleanup_free_ char *text = malloc(FILES_MOST);
        size_t len = 0;
        if (!text)
                return -ENOMEM;
        if (run_quietly(argv, NULL, text, FILES_MOST, &len) != 0 || len >= FILES_MOST)
                return -ENOENT;
        text[len] = 0;
        return parse(text, ret);
}

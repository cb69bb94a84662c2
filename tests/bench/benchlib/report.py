# SPDX-License-Identifier: Apache-2.0
"""Medians and ratios as a table."""

import statistics


def median(measured, name):
    return statistics.median(getattr(m, name) for m in measured)


def table(title, rows, reference="czard"):
    """rows: {contender: [Measured]}"""
    print(f"\n{title}")
    print(f"  {'':34} {'seconds':>9} {'x czard':>8} {'CPU s':>8} {'peak MB':>8} {'MB sent':>9} {'requests':>8}  runs")
    base = median(rows[reference], "seconds") if reference in rows else None
    for name, measured in rows.items():
        seconds = median(measured, "seconds")
        ratio = f"{seconds / base:8.2f}" if base else " " * 8
        print(f"  {name:34} {seconds:9.2f} {ratio} {median(measured, 'cpu'):8.2f} {median(measured, 'peak') / 1e6:8.0f} "
              f"{median(measured, 'sent') / 1e6:9.1f} {median(measured, 'requests'):8.0f}  {len(measured)}", flush=True)


def goal(text, value, limit, most=True):
    well = value <= limit if most else value >= limit
    print(f"  {'met ' if well else 'MISSED'} {text}: {value:.2f} ({'at most' if most else 'at least'} {limit})", flush=True)
    return well

"""How a dashboard of Grafana is written down: panels, variables, places. What is asked stands in generate.py."""

RATE = "[$__rate_interval]"


def target(expr, legend=""):
    return expr, legend


def panel(title, *targets, unit="short", about="", kind="timeseries", width=8, steps=None, stack=False, minimum=0):
    """steps: [(value, colour), ...], the first colour below the first value is green."""
    custom = {"fillOpacity": 20 if stack else 8, "lineWidth": 1, "showPoints": "never"}
    if stack:
        custom["stacking"] = {"mode": "normal", "group": "A"}
    if steps and kind == "timeseries":
        custom["thresholdsStyle"] = {"mode": "line"}
    defaults = {
        "unit": unit,
        "thresholds": {
            "mode": "absolute",
            "steps": [{"color": "green", "value": None}] + [{"color": c, "value": v} for v, c in steps or []],
        },
    }
    if kind == "timeseries":
        defaults["custom"] = custom
    if minimum is not None:
        defaults["min"] = minimum
    options = {
        "timeseries": {
            "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "stat": {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "background" if steps else "value",
            "graphMode": "area",
            "textMode": "auto",
        },
        "heatmap": {"calculate": False, "yAxis": {"unit": unit}, "color": {"mode": "scheme", "scheme": "Oranges"}},
        "table": {"showHeader": True},
    }[kind]
    made = {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "expr": expr,
                "legendFormat": legend or "__auto",
                "range": kind != "table",
                "instant": kind == "table",
                "format": {"table": "table", "heatmap": "heatmap"}.get(kind, "time_series"),
                # The trace behind a bar.
                "exemplar": "_bucket" in expr and kind != "stat",
            }
            for index, (expr, legend) in enumerate(targets)
        ],
        "_width": width,
    }
    if kind == "table":
        made["transformations"] = [{"id": "organize", "options": {"excludeByName": {"Time": True}}}]
    return made


def stat(title, expr, **more):
    return panel(title, target(expr), kind="stat", width=more.pop("width", 4), **more)


def light(title, expr):
    """Green at 1, red at 0."""
    made = stat(title, expr, steps=[(1, "green")])
    defaults = made["fieldConfig"]["defaults"]
    defaults["thresholds"]["steps"][0]["color"] = "red"
    defaults["mappings"] = [{"type": "value", "options": {"0": {"text": "down"}, "1": {"text": "up"}}}]
    return made


def quantiles(metric, by, where="", of=(0.5, 0.95, 0.99)):
    """Three lines of a histogram, for each value of `by`."""
    names = f"{by}, le" if by else "le"
    return [
        target(
            f"histogram_quantile({q}, sum by ({names}) (rate({metric}_bucket{{{where}}}{RATE})))",
            (f"{{{{{by}}}}} " if by else "") + f"p{q * 100:.0f}",
        )
        for q in of
    ]


def variable(name, label, metric, key, regex=""):
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": f"label_values({metric}, {key})", "refId": name},
        "definition": f"label_values({metric}, {key})",
        "regex": regex,
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "sort": 1,
    }


DATASOURCE = {
    "name": "datasource",
    "label": "Prometheus",
    "type": "datasource",
    "query": "prometheus",
    "current": {},
    "refresh": 1,
}
def dashboard(uid, title, about, variables, rows):
    panels, top, number = [], 0, 0
    for name, content in rows:
        number += 1
        grid = {"h": 1, "w": 24, "x": 0, "y": top}
        panels.append({"id": number, "type": "row", "title": name, "collapsed": False, "gridPos": grid, "panels": []})
        top, left = top + 1, 0
        height = 4 if all(one["type"] == "stat" for one in content) else 8
        for one in content:
            number += 1
            width = one.pop("_width")
            if left + width > 24:
                top, left = top + height, 0
            panels.append({"id": number, **one, "gridPos": {"h": height, "w": width, "x": left, "y": top}})
            left += width
        top += height
    return {
        "uid": uid,
        "title": title,
        "description": about,
        "tags": ["n8n-pulsar-bridge"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [DATASOURCE, *variables]},
        "annotations": {
            "list": [
                {
                    "name": "alerts",
                    "enable": True,
                    "datasource": {"type": "prometheus", "uid": "${datasource}"},
                    "expr": 'ALERTS{alertstate="firing",alertname=~"Bridge.*|N8nDown"}',
                    "titleFormat": "{{alertname}}",
                    "textFormat": "{{severity}} {{lane}} {{job}}",
                    "iconColor": "red",
                }
            ]
        },
        "links": [
            {
                "type": "dashboards",
                "title": "Bridge",
                "tags": ["n8n-pulsar-bridge"],
                "asDropdown": True,
                "keepTime": True,
                "includeVars": True,
            }
        ],
        "panels": panels,
    }

"""What dashboards and rules ask, read from their files: enough of PromQL to find names, labels and selectors in it."""
import dataclasses
import json
import re

KEYWORDS = {"and", "or", "unless", "offset", "bool", "inf", "nan", "by", "without", "on", "ignoring", "group_left", "group_right"}
STRING = r'"(?:[^"\\]|\\.)*"'
SELECTOR = re.compile(rf"(?<![\w:.$])([a-zA-Z_:][\w:]*)\s*(\{{(?:{STRING}|[^{{}}\"])*\}})?")
MATCHER = re.compile(rf"(\w+)\s*(=~|!~|!=|=)\s*({STRING})")


@dataclasses.dataclass
class Question:
    place: str
    expr: str
    record: str = ""
    alert: str = ""
    runbook: str = ""

    def filled(self, window):
        """As Grafana would ask it, with all of each variable."""
        expr = self.expr.replace("$__rate_interval", window)
        return re.sub(r"\$(lane|tenant)\b", ".*", expr)

    def parts(self, window):
        return [f"{name}{{{rest}}}" if rest else name for name, rest in _selectors(self.filled(window))]


def names_in(expr):
    return {name for name, _ in _selectors(expr)}


def selectors_in(expr):
    for name, rest in _selectors(expr):
        yield name, [(label, operator, value[1:-1]) for label, operator, value in MATCHER.findall(rest)]


def _selectors(expr):
    # Labels in brackets behind a word, ranges, and texts outside of braces are no series.
    expr = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)", " ", expr)
    expr = re.sub(r"\[[^\]]*\]", " ", expr)
    expr = re.sub(rf",\s*{STRING}(?=\s*[,)])", "", expr)
    found = []
    for match in SELECTOR.finditer(expr):
        name, braces = match.groups()
        if name.lower() in KEYWORDS or expr[match.end() :].lstrip().startswith("(") or (name, braces) in found:
            continue
        found.append((name, braces))
    return [(name, (braces or "{}")[1:-1]) for name, braces in found]


def labels_of(rust):
    """The labels of a line of the catalogue; None for values that are not a closed set."""
    closed = re.findall(r'\(\s*"(\w+)",\s*Closed\(&\[(.*?)\]\)', rust, re.S)
    bounded = re.findall(r'\(\s*"(\w+)",\s*Bounded\(', rust)
    return {name: set(re.findall(r'"([^"]+)"', values)) for name, values in closed} | dict.fromkeys(bounded)


def dashboards(directory):
    asked = []
    for path in sorted(directory.glob("*.json")):
        made = json.loads(path.read_text(encoding="utf-8"))
        for panel in made["panels"]:
            for target in panel.get("targets", []):
                asked.append(Question(f"{path.name}, {panel['title']!r}", target["expr"]))
        for variable in made["templating"]["list"]:
            found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable.get("definition", ""))
            if found:
                asked.append(Question(f"{path.name}, variable {variable['name']}", f"count by ({found[2]}) ({found[1]})"))
        for annotation in made["annotations"]["list"]:
            asked.append(Question(f"{path.name}, annotation {annotation['name']}", annotation["expr"]))
    return asked


def rules(repo):
    """The rules, read line by line: they are written in one way, and YAML is not in the standard library."""
    asked = []
    for path in sorted((repo / "otel/rules").glob("*.yml")):
        lines, question, deep = path.read_text(encoding="utf-8").splitlines(), None, None
        for number, line in enumerate(lines, 1):
            indent = len(line) - len(line.lstrip())
            if deep is not None and line.strip() and indent > deep:
                if not line.lstrip().startswith("#"):
                    question.expr += " " + line.strip()
                continue
            deep = None
            found = re.fullmatch(r"\s*(?:- )?(record|alert|expr|runbook_url): (.*)", line)
            if not found:
                continue
            key, value = found.groups()
            if key in ("record", "alert"):
                question = Question(f"{path.name}:{number} {value}", "", **{key: value})
                asked.append(question)
            elif key == "runbook_url":
                question.runbook = value
            elif value in (">-", "|", ">", "|-"):
                deep = indent
            else:
                question.expr = value
    return asked

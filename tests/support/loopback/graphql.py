"""Answer a GraphQL document from plain dictionaries, without a schema.

An object is a mapping. A value in it is the answer, or a function that is called
with the field's arguments; the answer of a field that an object does not have is null.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import Undefined, parse, value_from_ast_untyped
from graphql import language as ast

INTERFACES = {"ArtifactCollection": {"ArtifactSequence", "ArtifactPortfolio"}}


class GraphQLError(Exception):
    """An error that the client finds under `errors` in the answer."""


@dataclass(frozen=True)
class Operation:
    """A parsed operation: its name, kind (`query`, `mutation`) and variables."""

    name: str
    kind: str
    selection: ast.SelectionSetNode
    fragments: Mapping[str, ast.FragmentDefinitionNode]
    variables: dict[str, Any]

    @property
    def root_fields(self) -> list[str]:
        """The fields that the operation asks of the root."""
        nodes = self.selection.selections
        return [node.name.value for node in nodes if isinstance(node, ast.FieldNode)]

    def execute(self, root: Mapping[str, Any]) -> dict[str, Any]:
        """Project the operation onto `root`."""
        return self._project(self.selection, root)

    def _project(
        self, selection: ast.SelectionSetNode, source: Mapping[str, Any]
    ) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        for node in selection.selections:
            if not self._included(node):
                continue
            if isinstance(node, ast.FieldNode):
                key = (node.alias or node.name).value
                answer = _merged(answer, {key: self._field(node, source)})
                continue
            part: ast.FragmentDefinitionNode | ast.InlineFragmentNode
            if isinstance(node, ast.FragmentSpreadNode):
                part = self.fragments[node.name.value]
            elif isinstance(node, ast.InlineFragmentNode):
                part = node
            if _applies(part.type_condition, source):
                answer = _merged(answer, self._project(part.selection_set, source))
        return answer

    def _field(self, node: ast.FieldNode, source: Mapping[str, Any]) -> Any:
        value = source.get(node.name.value)
        if callable(value):
            value = value(**self._arguments(node))
        return self._complete(node, value)

    def _complete(self, node: ast.FieldNode, value: Any) -> Any:
        if isinstance(value, list):
            return [self._complete(node, item) for item in value]
        if node.selection_set is None or value is None:
            return value
        return self._project(node.selection_set, value)

    def _arguments(self, node: ast.FieldNode | ast.DirectiveNode) -> dict[str, Any]:
        values = {
            argument.name.value: value_from_ast_untyped(argument.value, self.variables)
            for argument in node.arguments or ()
        }
        return {key: _given(value) for key, value in values.items() if _is_given(value)}

    def _included(self, node: ast.SelectionNode) -> bool:
        conditions = {
            directive.name.value: self._arguments(directive).get("if")
            for directive in node.directives or ()
        }
        return bool(conditions.get("include", True) and not conditions.get("skip"))


def parse_operation(
    document: str, variables: Mapping[str, Any] | None = None, name: str | None = None
) -> Operation:
    """Parse `document` and choose the operation called `name` (or the first)."""
    definitions = parse(document).definitions
    operations = [
        node
        for node in definitions
        if isinstance(node, ast.OperationDefinitionNode)
        and (not name or (node.name is not None and node.name.value == name))
    ]
    if not operations:
        raise GraphQLError(f"the document has no operation named {name!r}")
    operation = operations[0]
    defaults = {
        node.variable.name.value: value_from_ast_untyped(node.default_value)
        for node in operation.variable_definitions or ()
        if node.default_value is not None
    }
    return Operation(
        name=operation.name.value if operation.name else "",
        kind=operation.operation.value,
        selection=operation.selection_set,
        fragments={
            node.name.value: node
            for node in definitions
            if isinstance(node, ast.FragmentDefinitionNode)
        },
        variables=defaults | (_given(variables) or {}),
    )


def connection(
    items: list[Any], edge: Callable[[Any], dict[str, Any]]
) -> Callable[..., dict[str, Any]]:
    """A paginated field: `edge(item)` gives the edge (`{"node": ...}`) of an item.

    The cursor of an item is its place in `items`, counted from 1.
    """

    def page(
        first: int | None = None, after: str | None = None, **_: Any
    ) -> dict[str, Any]:
        start = int(after or 0)
        stop = len(items) if first is None else min(start + first, len(items))
        return {
            "__typename": "Connection",
            "totalCount": len(items),
            "edges": [
                {"cursor": str(place + 1), **edge(items[place])}
                for place in range(start, stop)
            ],
            "pageInfo": {
                "__typename": "PageInfo",
                "endCursor": str(stop) if stop > start else after,
                "hasNextPage": stop < len(items),
            },
        }

    return page


def _is_given(value: Any) -> bool:
    return value is not None and value is not Undefined


def _given(value: Any) -> Any:
    """A value without the keys that are null or that no variable was given for."""
    if isinstance(value, Mapping):
        return {key: _given(item) for key, item in value.items() if _is_given(item)}
    if isinstance(value, list):
        return [_given(item) for item in value]
    return value


def _applies(condition: ast.NamedTypeNode | None, source: Mapping[str, Any]) -> bool:
    name = source.get("__typename")
    if condition is None or name is None:
        return True
    wanted = condition.name.value
    return name == wanted or name in INTERFACES.get(wanted, ())


def _merged(old: Any, new: Any) -> Any:
    """Two answers of the same field, asked for in two places, in one."""
    if isinstance(old, dict) and isinstance(new, dict):
        shared = {key: _merged(old[key], new[key]) for key in old.keys() & new.keys()}
        return old | new | shared
    if isinstance(old, list) and isinstance(new, list):
        return [_merged(*pair) for pair in zip(old, new, strict=True)]
    return new

"""The exported graph: what a server and its Studio see of it, without any weights."""

from alpha_umi.graph.agent import graph


def test_agent_edges_follow_the_planners_next() -> None:
    edges = {(edge.source, edge.target, edge.data) for edge in graph.get_graph().edges}
    assert {
        ("planner", "caller", None),
        ("planner", "summarizer", "conclusion"),
        ("planner", "give_up", "give up"),
        ("planner", "planner", "no decision"),
        ("approval", "tools", None),
        ("approval", "planner", None),
        ("tools", "planner", None),
    } <= edges


def test_agent_takes_messages_only() -> None:
    assert set(graph.get_input_jsonschema()["properties"]) == {"messages"}
    assert set(graph.get_output_jsonschema()["properties"]) == {
        "messages",
        "answer",
        "finish",
        "reason",
        "structured_response",
    }


def test_agent_context_says_what_it_means_and_what_is_allowed() -> None:
    schema = graph.get_context_jsonschema()
    assert schema is not None
    fields = schema["properties"]
    limits = {"max_steps", "max_restarts", "beam_width", "max_queries", "repeat_limit", "failure_limit"}
    assert set(fields) == limits | {"approve_tools", "temperature", "strategy", "unsure", "interrupt_mode", "history"}
    assert all(field["description"] and "default" in field for field in fields.values())
    assert (fields["max_steps"]["minimum"], fields["max_steps"]["maximum"]) == (1, 100)


def test_agent_has_no_checkpointer_of_its_own() -> None:
    assert graph.checkpointer is None

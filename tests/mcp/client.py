"""One round of everything with an official Python SDK: 2.x, or 1.x where that is what is installed.

usage: client.py sse|http|stdio TARGET [auto|legacy|2026-07-28]
TARGET is a URL, or the server's binary for stdio. Exits 0 when every step went as it must.
"""

import asyncio
import subprocess
import sys
import time
import uuid

import anyio

TRANSPORT, TARGET = sys.argv[1:3]
MODE = sys.argv[3] if len(sys.argv) > 3 else "auto"
# Shorter than the long call: only what the server sends on the way keeps the connection.
IDLE_SECONDS = 7
LONG_SECONDS = 9
IMAGE = "alpine:latest"

try:
    from mcp import Client
except ImportError:
    Client = None


def run(command, **more):
    return {"image": IMAGE, "command": ["sh", "-c", command], "network": "none", **more}


def text(result):
    return result.content[0].text


def is_error(result):
    return getattr(result, "is_error", None) if hasattr(result, "is_error") else result.isError


def structured(result):
    name = "structured_content" if hasattr(result, "structured_content") else "structuredContent"
    return getattr(result, name)


def containers(label):
    command = ["docker", "ps", "-aq", "--filter", f"label=test={label}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


async def removed_within(label, seconds):
    deadline = time.monotonic() + seconds
    while containers(label):
        assert time.monotonic() < deadline, f"the container is still there after {seconds} s"
        await anyio.sleep(0.1)


async def steps(session, cancel):
    tools = {tool.name for tool in (await session.list_tools()).tools}
    assert {"run_container", "create_volume", "docker_health"} <= tools, tools

    result = await session.call_tool("run_container", run("echo hello; cat /in", volumes={
        "/in:ro": {"type": "file", "text": "from a file\n"},
        "/out": {"type": "directory", "response": True}}))
    assert not is_error(result), text(result)
    assert structured(result)["stdout"] == "hello\nfrom a file\n", structured(result)
    assert text(result).startswith("success (exit code 0"), text(result)

    result = await session.call_tool("run_container", run("echo no >&2; exit 3"))
    assert is_error(result) and structured(result)["exit_code"] == 3, result
    result = await session.call_tool("run_container", {"image": {}, "colour": "red", "memory": []})
    for fault in ("arguments.image", "arguments.colour", "arguments.memory"):
        assert is_error(result) and fault in text(result), text(result)
    try:
        await session.call_tool("no_such_tool", {})
        raise AssertionError("an unknown tool was called")
    except Exception as error:  # the class differs between the SDKs
        assert "no_such_tool" in str(error), error

    # 2 MB of output arrive in one event that the SDK takes, and it is said what was cut.
    result = await session.call_tool("run_container", run("yes 0123456789 | head -c 2097152"))
    assert not is_error(result), text(result)
    assert structured(result)["stdout_omitted_bytes"] > 1_000_000, structured(result)["timings"]
    assert "bytes left out of the middle" in text(result)

    told = []

    async def progress(done, total, message):
        told.append((done, message))

    result = await session.call_tool(
        "run_container", run(f"echo begun; sleep {LONG_SECONDS}; echo done"), progress_callback=progress)
    assert structured(result)["stdout"] == "begun\ndone\n", text(result)
    steps_told = [done for done, _ in told]
    assert len(told) >= 2 and steps_told == sorted(set(steps_told)), told

    await detached(session)
    await cancelled(session, cancel)
    result = await session.call_tool("docker_health", {})
    assert not is_error(result), "the session lives on after a cancelled call"


async def detached(session):
    result = await session.call_tool("run_container", run("echo begun; sleep 1; echo done; exit 4", detach=True))
    assert not is_error(result) and structured(result)["state"] in ("queued", "running"), text(result)
    run_id = structured(result)["id"]
    page = structured(await session.call_tool("run_logs", {"id": run_id, "wait_secs": 30}))
    assert page["stdout"] == "begun\n", page
    result = await session.call_tool("run_status", {"id": run_id, "wait_secs": 30})
    assert is_error(result) and structured(result)["result"]["exit_code"] == 4, text(result)
    page = structured(await session.call_tool("run_logs", {"id": run_id, "cursor": page["cursor"]}))
    assert (page["stdout"], page["state"], page["has_more"]) == ("done\n", "finished", False), page
    listed = structured(await session.call_tool("list_runs", {"state": "finished"}))["runs"]
    assert [one["status"] for one in listed if one["id"] == run_id] == ["error: 4"], listed

    result = await session.call_tool("run_container", run("echo begun; sleep 120", detach=True))
    other = structured(result)["id"]
    await session.call_tool("run_logs", {"id": other, "wait_secs": 30})
    result = await session.call_tool("cancel_run", {"id": other})
    assert not is_error(result) and structured(result)["result"]["reason"] == "cancelled", text(result)
    for one in (run_id, other):
        result = await session.call_tool("cancel_run", {"id": one})
        assert not is_error(result), text(result)
        result = await session.call_tool("run_status", {"id": one})
        assert is_error(result) and "no such run" in text(result), text(result)


async def cancelled(session, cancel):
    label = uuid.uuid4().hex
    running = anyio.Event()

    async def progress(done, total, message):
        if "begun" in (message or ""):
            running.set()

    async with anyio.create_task_group() as group:
        async def call():
            await session.call_tool(
                "run_container", run("echo begun; sleep 120", labels={"test": label}), progress_callback=progress)

        group.start_soon(call)
        with anyio.fail_after(30):
            await running.wait()
        assert containers(label), "it runs"
        await cancel(group)
        await removed_within(label, 2)
        group.cancel_scope.cancel()


async def with_new_sdk():
    import httpx2
    from mcp.client.sse import sse_client
    from mcp.client.stdio import StdioServerParameters, stdio_client
    from mcp.client.streamable_http import streamable_http_client

    if TRANSPORT == "sse":
        transport = sse_client(TARGET, sse_read_timeout=IDLE_SECONDS)
    elif TRANSPORT == "http":
        transport = streamable_http_client(TARGET, http_client=httpx2.AsyncClient(timeout=IDLE_SECONDS))
    else:
        transport = stdio_client(StdioServerParameters(command=TARGET, args=["stdio"]))

    async def cancel(group):
        group.cancel_scope.cancel()

    async with Client(transport, mode=MODE) as client:
        modern = MODE != "legacy"
        assert (client.protocol_version == "2026-07-28") == modern, client.protocol_version
        print("negotiated", client.protocol_version)
        with anyio.CancelScope(shield=True):
            await steps(client, cancel)


async def with_old_sdk():
    from mcp import ClientSession, StdioServerParameters, types
    from mcp.client.sse import sse_client
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamablehttp_client

    if TRANSPORT == "sse":
        transport = sse_client(TARGET, sse_read_timeout=IDLE_SECONDS)
    elif TRANSPORT == "http":
        transport = streamablehttp_client(TARGET, timeout=IDLE_SECONDS, sse_read_timeout=IDLE_SECONDS)
    else:
        transport = stdio_client(StdioServerParameters(command=TARGET, args=["stdio"]))
    async with transport as streams:
        async with ClientSession(streams[0], streams[1]) as session:
            answer = await session.initialize()
            assert answer.protocolVersion == "2025-11-25", answer
            print("negotiated", answer.protocolVersion)

            async def cancel(group):
                params = types.CancelledNotificationParams(requestId=session._request_id - 1)
                await session.send_notification(
                    types.ClientNotification(types.CancelledNotification(params=params)))

            await steps(session, cancel)


anyio.run(with_new_sdk if Client else with_old_sdk)
print("ok")

"""An upstream in a process of its own, so that it can be killed: answers every request as it was last told to, and counts.

    python3 upstream_process.py PORT NAME        # prints "ready" when it listens

POST /_control with a JSON object sets any of: status, delay_ms, headers, percent (of requests that get the status, the
others 200), mode: "answer", "hang" (read, never answer), "close" (close instead of an answer), "half-head" (a part of a
head, then close), "stall" (a head and half the body, then nothing). GET /_stats gives what was counted and resets it.
"""
import asyncio
import json
import sys

state = {"status": 200, "delay_ms": 0, "headers": {}, "percent": 100, "mode": "answer"}
stats = {}


def reset():
    stats.update(requests=0, methods={}, connections=0, most=0, keys={})


active, turn = 0, 0


def head(status, headers, length):
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {length}", f"X-Upstream: {sys.argv[2]}"]
    return ("\r\n".join(lines + [f"{k}: {v}" for k, v in headers.items()]) + "\r\n\r\n").encode()


async def answer(method, path, body, fields, writer):
    """False: the connection is over."""
    global active, turn
    if path == "/_control":
        state.update(json.loads(body))
        writer.write(head(204, {}, 0))
        return True
    if path == "/_stats":
        text = json.dumps(stats).encode()
        reset()
        writer.write(head(200, {}, len(text)) + text)
        return True
    turn += 1
    active += 1
    stats["requests"] += 1
    stats["most"] = max(stats["most"], active)
    stats["methods"][method] = stats["methods"].get(method, 0) + 1
    if key := fields.get("x-key"):
        stats["keys"][key] = stats["keys"].get(key, 0) + 1
    mode, status = state["mode"], state["status"]
    if (turn * 37) % 100 >= state["percent"]:
        mode, status = "answer", 200
    try:
        if state["delay_ms"]:
            await asyncio.sleep(state["delay_ms"] / 1000)
        text = json.dumps({"upstream": sys.argv[2], "method": method, "path": path, "bytes": len(body)}).encode()
        whole = head(status, state["headers"], len(text)) + (text if method != "HEAD" else b"")
        if mode == "hang":
            await asyncio.sleep(3600)
        if mode == "close":
            return False
        if mode == "half-head":
            writer.write(whole[:20])
            await writer.drain()
            return False
        if mode == "stall":
            writer.write(whole[:-10])
            await asyncio.sleep(3600)
        writer.write(whole)
        await writer.drain()
        return True
    finally:
        active -= 1


async def serve(reader, writer):
    stats["connections"] += 1
    try:
        while line := await reader.readline():
            method, path, _ = line.decode().split(" ", 2)
            fields = {}
            while (line := await reader.readline()) not in (b"\r\n", b""):
                name, value = line.decode("latin1").split(":", 1)
                fields[name.lower()] = value.strip()
            body = await reader.readexactly(int(fields.get("content-length", 0)))
            if fields.get("transfer-encoding") == "chunked":
                while size := int(await reader.readuntil(), 16):
                    body += await reader.readexactly(size)
                    await reader.readuntil()
                await reader.readuntil()
            if not await answer(method, path.split("?")[0], body, fields, writer):
                break
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
        pass
    finally:
        writer.close()


async def main():
    reset()
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    print("ready", flush=True)
    await server.serve_forever()


asyncio.run(main())

-- What wrk sends, and how it reports the results. Arguments: a file of hashes, one per line; how
-- many of them, starting with the first, have a record; a seed. Without arguments, every request is
-- for the URL itself.

local threads = {}
local hashes, lines, known
local head = "GET /v1/key-hashes/"
local tail = " HTTP/1.1\r\nHost: registry\r\n\r\n"
local line_length = 65

-- Global, because wrk can read only globals of a thread.
unknown = 0

function setup(thread)
    table.insert(threads, thread)
end

function init(args)
    if not args[1] then
        return
    end
    local file = assert(io.open(args[1]))
    hashes = file:read("*a")
    file:close()
    lines = #hashes / line_length
    known = tonumber(args[2])
    math.randomseed(tonumber(args[3]))
    request = any_hash
end

function any_hash()
    local line = math.random(0, lines - 1)
    if line >= known then
        unknown = unknown + 1
    end
    local start = line * line_length
    return head .. hashes:sub(start + 1, start + line_length - 1) .. tail
end

function done(summary, latency)
    local asked_unknown = 0
    for _, thread in ipairs(threads) do
        asked_unknown = asked_unknown + thread:get("unknown")
    end
    local errors = summary.errors
    io.write(string.format(
        '{"answers":%d,"microseconds":%d,"p50":%d,"p99":%d,' ..
        '"refused":%d,"asked_unknown":%d,"failed":%d}\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        errors.status, asked_unknown,
        errors.connect + errors.read + errors.write + errors.timeout))
end

-- A wrk script that sends requests like those of an SDK, with keys in turn. All variants use the
-- same script, so that the client costs the same for each. Arguments: the prefix of the keys, how
-- many there are, the number of the first.

-- A prime, so that all keys are used (unless there are 30011). Successive keys are far apart in the
-- cache.
local STRIDE = 30011

local head, tail, count, at

function init(args)
  count, at = tonumber(args[2]), tonumber(args[3])
  local request = wrk.format("GET", nil, {
    ["Host"] = "api.example.com",
    ["User-Agent"] = "asterwise-python/1.4.2 (CPython 3.12.4; Linux x86_64)",
    ["Accept"] = "application/json",
    ["Accept-Encoding"] = "gzip, deflate, br",
    ["Accept-Language"] = "en-GB,en;q=0.9",
    ["Content-Type"] = "application/json",
    ["Authorization"] = "Bearer " .. args[1] .. "@",
  })
  local hole = request:find("@", 1, true)
  head, tail = request:sub(1, hole - 1), request:sub(hole + 1)
end

function request()
  at = (at + STRIDE) % count
  return head .. string.format("%06d", at) .. tail
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    '{"requests":%d,"micros":%d,"refused":%d,"broken":%d,"p50":%d,"p99":%d}',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end

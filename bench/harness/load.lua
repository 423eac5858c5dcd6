-- wrk script: sends the request text of a file, byte for byte, and reports the totals as one line of JSON.
-- wrk ... -s load.lua URL -- FILE COUNT SEED
-- In the text, {index} becomes a random number from 0 to COUNT-1 and {hex} 16 random hexadecimal digits.

local parts, fillers, count

local function random_index()
  return tostring(math.random(0, count - 1))
end

local function random_hex()
  return string.format("%08x%08x", math.random(0, 0xffffffff), math.random(0, 0xffffffff))
end

local function split(text)
  parts, fillers = {}, {}
  local from = 1
  while true do
    local first, last, name = text:find("{(%l+)}", from)
    if not first then break end
    parts[#parts + 1] = text:sub(from, first - 1)
    fillers[#fillers + 1] = name == "index" and random_index or random_hex
    from = last + 1
  end
  parts[#parts + 1] = text:sub(from)
end

local function build()
  local out = { parts[1] }
  for i, fill in ipairs(fillers) do
    out[#out + 1] = fill()
    out[#out + 1] = parts[i + 1]
  end
  return table.concat(out)
end

function init(args)
  local file = assert(io.open(args[1], "rb"))
  split(file:read("*a"))
  file:close()
  count = tonumber(args[2])
  math.randomseed(tonumber(args[3]))
  if #fillers > 0 then
    request = build          -- wrk calls a global `request` for each request ...
  else
    wrk.format = function() return parts[1] end  -- ... and without one sends the same bytes always, which is cheaper
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\nRESULT {"requests": %d, "microseconds": %d, "bytes": %d, "p50": %d, "p99": %d, "max": %d, '
      .. '"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}\n',
    summary.requests, summary.duration, summary.bytes,
    latency:percentile(50), latency:percentile(99), latency.max,
    errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end

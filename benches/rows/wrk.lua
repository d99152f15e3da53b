-- Sends each line of a file as one form, once, and prints the result as JSON. One thread of wrk only.
--
-- wrk itself sleeps until its duration is over, so the script prints "sent" after the last line; SIGINT ends it then.

function init(arguments)
  bodies = {}
  for line in io.lines(arguments[1]) do
    bodies[#bodies + 1] = line
  end
  sent = 0
  headers = { ["content-type"] = "application/x-www-form-urlencoded" }
end

function request()
  -- wrk asks for one request before the first connection, which it does not send.
  sent = sent + 1
  if sent > #bodies then
    if not ended then
      io.write("sent\n")
      io.flush()
      ended = true
    end
    wrk.thread:stop()
    sent = #bodies
  end
  return wrk.format("POST", nil, headers, bodies[sent])
end

function done(summary, latency)
  local failed = summary.errors
  io.write(string.format(
    '{"requests": %d, "micros": %d, "p50_ms": %f, "p99_ms": %f, "failed": %d}\n',
    summary.requests, summary.duration, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    failed.connect + failed.read + failed.write + failed.status + failed.timeout
  ))
end

-- What wrk found, as lines of `name value`: its own summary lacks the 99.9th percentile.
done = function(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.write + errors.status + errors.timeout
  io.write(string.format("\nrequests %d\nseconds %.6f\nfailed %d\nread_errors %d\n",
    summary.requests, summary.duration / 1e6, failed, errors.read))
  io.write(string.format("p50_us %.1f\np99_us %.1f\np999_us %.1f\n",
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end

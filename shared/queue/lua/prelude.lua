-- Shared by every function of the queue's library. The queue is on a single Redis, so keys of arq are made from names.
-- Rules: the only clock is Redis'; every key that is written has an expiry.

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function digits(number)
  return string.format('%d', number)
end

-- Records what became of claims. Every step may be repeated without harm.
--
-- KEYS[i]  nonce key of step i
-- ARGV[1]  call id, echoed     ARGV[2]  lease, ms; then for each step:
--          'C' commit, 'R' release or 'N' renew; owner (16 characters), digest, remember_until s
--
-- Returns {call id, steps done}. Fewer than asked: memory is full, the rest is to be sent again.
-- The form of a nonce is told in claim.lua.

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local lease_ms = tonumber(ARGV[2])

local function leased_by(key, owner)
  local entry = redis.call('GET', key)
  return entry and string.sub(entry, 1, 1) == 'L' and string.sub(entry, 15, 30) == owner
end

local function put(key, entry, ttl_ms)
  return redis.pcall('SET', key, entry, 'PX', string.format('%.0f', math.max(ttl_ms, 0) + 1000))
end

for step = 1, #KEYS do
  local at = 3 + 4 * (step - 1)
  local key, what, owner, digest = KEYS[step], ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local ttl_ms = tonumber(ARGV[at + 3]) * 1000 - now_ms
  local done = {}
  if what == 'C' then
    done = put(key, 'C' .. digest, ttl_ms)
  elseif leased_by(key, owner) then
    if what == 'R' then
      redis.call('DEL', key)
    else
      local lease_end = string.format('%013.0f', now_ms + lease_ms)
      done = put(key, 'L' .. lease_end .. owner .. digest, math.max(ttl_ms, lease_ms))
    end
  end
  if done.err then
    if string.find(done.err, 'OOM', 1, true) then return {ARGV[1], step - 1} end
    return done
  end
end
return {ARGV[1], #KEYS}

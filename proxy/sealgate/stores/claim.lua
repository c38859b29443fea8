-- Decides up to 200 claims in order, each atomically: its nonce and all its tokens, or nothing.
--
-- KEYS[1]  identity of the store; then nonce keys and bucket keys, which claims name by index
-- ARGV[1]  call id, echoed                 ARGV[2]  identity this gateway knows
-- ARGV[3]  identity's time to live, ms     ARGV[4]  created_min: the horizon, Unix s
-- ARGV[5]  lease, ms; 0: leases are held    ARGV[6]  number of claims; then for each:
--          owner (16 characters, echoed), nonce key index (0: none), digest, created s, remember_until s,
--          number of debits; then for each debit: bucket key index, increment_us, capacity_us
--
-- Returns {call id, keys in the database, then for each claim: owner, status, bucket key index, wait_us}.
--
-- A nonce holds 'C' digest (committed), or 'L' lease end (Unix ms, 13 digits) owner digest (leased).
-- A lease that is held ends by a settlement alone, or with its key. Whoever holds its own takes over no other.
-- A bucket holds its theoretical arrival time in us, as verify/bucket.py computes it; the arithmetic here
-- is the same, on increments and capacities computed there. All integers stay below 2^53: exact in Lua.

local GRANTED, INFLIGHT, DUPLICATE, CONFLICT, LIMITED, COST, FULL, HORIZON = 0, 1, 2, 3, 4, 5, 6, 7

if redis.call('GET', KEYS[1]) ~= ARGV[2] then
  return redis.error_reply('SEALGATE the store is another than before')
end
-- The first write tells whether memory is left; Redis decides that once, for the whole script.
local probe = redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
local full = probe.err and string.find(probe.err, 'OOM', 1, true) ~= nil
if probe.err and not full then
  return probe
end

local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now_ms = math.floor(now_us / 1000)
local created_min = tonumber(ARGV[4])
local lease_ms = tonumber(ARGV[5])
local held = lease_ms == 0
-- The largest of 13 digits, in the year 2286.
local lease_end = held and '9999999999999' or string.format('%013.0f', now_ms + lease_ms)

local tats, changed = {}, {}

local function nonce_status(key, owner, digest, created, remember_until)
  local entry = redis.call('GET', key)
  if not entry then
    if created < created_min or remember_until * 1000 < now_ms then return HORIZON end
    return full and FULL or nil
  end
  local leased = string.sub(entry, 1, 1) == 'L'
  if string.sub(entry, leased and 31 or 2) ~= digest then return CONFLICT end
  if not leased then return DUPLICATE end
  -- Our own lease: the reply to an earlier call was lost, and the tokens are already taken.
  if string.sub(entry, 15, 30) == owner then return GRANTED end
  if held or tonumber(string.sub(entry, 2, 14)) > now_ms then return INFLIGHT end
  -- The lease is over, but before the horizon its commit may be what was lost.
  if created < created_min then return HORIZON end
  return full and FULL or nil
end

-- Takes the tokens of the debits that start at ARGV[first], or none.
local function debit(first, count)
  local taken = {}
  local limited, wait_longest, cost = 0, 0, 0
  for at = first, first + 3 * (count - 1), 3 do
    local bucket, increment, capacity = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    if increment > capacity and cost == 0 then cost = bucket end
    local tat = taken[bucket] or tats[bucket]
    if not tat then
      tat = tonumber(redis.call('GET', KEYS[bucket]) or '0')
      tats[bucket] = tat
    end
    -- A clock that was set back must not close a bucket for longer than it takes to fill.
    tat = math.max(math.min(tat, now_us + capacity), now_us) + increment
    local wait = tat - now_us - capacity
    if wait <= 0 then
      taken[bucket] = tat
    elseif wait > wait_longest then
      limited, wait_longest = bucket, wait
    end
  end
  if cost > 0 then return COST, cost, 0 end
  if limited > 0 then return LIMITED, limited, wait_longest end
  if full and count > 0 then return FULL, 0, 0 end
  for bucket, tat in pairs(taken) do
    tats[bucket] = tat
    changed[bucket] = true
  end
  return GRANTED, 0, 0
end

local reply = {ARGV[1], redis.call('DBSIZE')}
local at = 7
for _ = 1, tonumber(ARGV[6]) do
  local owner, key, digest = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  local created, remember_until = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local debits = tonumber(ARGV[at + 5])
  local status, bucket, wait = nil, 0, 0
  if key > 0 then status = nonce_status(KEYS[key], owner, digest, created, remember_until) end
  if status == nil then
    status, bucket, wait = debit(at + 6, debits)
    if status == GRANTED and key > 0 then
      local entry = 'L' .. lease_end .. owner .. digest
      local ttl_ms = math.max(remember_until * 1000 - now_ms, lease_ms) + 1000
      redis.call('SET', KEYS[key], entry, 'PX', string.format('%.0f', ttl_ms))
    end
  end
  table.insert(reply, owner)
  table.insert(reply, status)
  table.insert(reply, bucket)
  table.insert(reply, wait)
  at = at + 6 + 3 * debits
end

for bucket in pairs(changed) do
  local ttl_ms = math.ceil((tats[bucket] - now_us) / 1000) + 1000
  redis.call('SET', KEYS[bucket], string.format('%.0f', tats[bucket]), 'PX', string.format('%.0f', ttl_ms))
end
return reply

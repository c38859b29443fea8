-- Settles claims of before, then decides new ones in order, each atomically: its nonce and all its tokens, or
-- nothing; last, hands out blocks of tokens. Every part may be repeated without harm (a block only lapses).
--
-- KEYS[1]  identity of the store; then nonce keys: of the commits, of the other settlements, of the claims
--          that have one; then bucket keys; where a claim may wait, as many keys that say messages go through
--          a bucket's queue
-- ARGV[1]  identity this gateway knows
-- ARGV[2]  the call, integers big-endian. First: call id (16, echoed), gateway (8), created_min I8 (the
--          horizon, Unix s), lease I4 (ms; 0: leases are held), then how many there are of each: commits,
--          other settlements, claims, terms, blocks wanted, each I2. Then these:
--          terms    created I8, remember_until I8 (Unix s), 1 with a nonce and else 0 I1, wait I8 (us that the
--                   message may wait), debits I2; for each debit: bucket I2 (from 0), increment I8, capacity
--                   I8, delay I8 (the longest that any message waits there; us), 1 I1 where the next debit is
--                   the same from a spare, else 0
--          blocks   bucket I2, tokens I4, interval I8, capacity I8, reach I4 (us)
--          commits  all digests (32 each), then all remember_until I8
--          others   'R' release or 'N' renew, claim number (8), digest (32), remember_until I8
--          claims   which terms, from 0, a byte each; claim numbers (8) of those with a nonce, their digests
--
-- Returns one string: call id, keys in the database I8, settlements done I2 (fewer than asked: memory is full,
-- the rest is to be sent again), claims I2, blocks I2, for each block its tokens I4; then for each claim that
-- was not just granted: its index from 0 I2, status I1, bucket I2 (from 1; 0: none), wait I8 (us).
--
-- A nonce holds 'C' digest (committed), or 'L' lease end (Unix ms, 13 digits) owner digest (leased), and behind
-- that the slot (Unix us) of a message that is held. The owner is gateway and claim number, 16 octets. A lease that is held ends by a settlement alone, or with its key.
-- Whoever holds its own takes over no other.
-- A bucket holds its theoretical arrival time in us, as verify/bucket.py computes it; the arithmetic here is
-- the same, on increments and capacities computed there. All integers stay below 2^53: exact in Lua.

local GRANTED, INFLIGHT, DUPLICATE, CONFLICT, LIMITED, COST, FULL, HORIZON, HELD = 0, 1, 2, 3, 4, 5, 6, 7, 8
-- As GRACE_US and TRAIL_US of stores/limiter.py.
local GRACE_US, TRAIL_US = 2000000, 500000
local call, pcall, sub, byte, unpack = redis.call, redis.pcall, string.sub, string.byte, struct.unpack

if call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('SEALGATE the store is another than before')
end
-- The first write tells whether memory is left; Redis decides that once, for the whole script.
local probe = pcall('SET', KEYS[1], ARGV[1], 'PX', '2592000000')
local full = probe.err and string.find(probe.err, 'OOM', 1, true) ~= nil
if probe.err and not full then
  return probe
end

local time = call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now_ms = math.floor(now_us / 1000)
local text = ARGV[2]
local call_id, gateway, created_min, lease_ms, commits, others, claims, term_count, block_count, at =
  unpack('>c16c8I8I4I2I2I2I2I2', text)
local held = lease_ms == 0
-- The largest of 13 digits, in the year 2286.
local lease_end = held and '9999999999999' or string.format('%013.0f', now_ms + lease_ms)
local key_at = 1

local function ttl(remember_until, ms_min)
  return string.format('%.0f', math.max(remember_until * 1000 - now_ms, ms_min) + 1000)
end

-- What claims have in common, read once for all of them.
local terms = {}
local waits = false
for number = 0, term_count - 1 do
  local created, remember_until, nonce, wait, debits
  created, remember_until, nonce, wait, debits, at = unpack('>I8I8I1I8I2', text, at)
  waits = waits or wait > 0
  local term = {
    nonce = nonce == 1, debits = debits, wait = wait, known = created >= created_min,
    new = created >= created_min and remember_until * 1000 >= now_ms, ttl = ttl(remember_until, lease_ms),
  }
  for debit = 1, debits do
    local bucket, increment, capacity, delay, spare
    bucket, increment, capacity, delay, spare, at = unpack('>I2I8I8I8I1', text, at)
    if increment > capacity and not term.cost then term.cost = bucket end
    term[debit] = {
      bucket = bucket, increment = increment, capacity = capacity, delay = delay, spare = spare == 1,
    }
  end
  terms[number] = term
end
local blocks_at = at
local commits_at = blocks_at + 26 * block_count
local others_at = commits_at + 40 * commits
local codes_at = others_at + 49 * others

-- Settlements. Returns how many were done, and the error that ended them.

local function settle()
  local digest_at, remember_at = commits_at, commits_at + 32 * commits
  local last, last_ttl
  for number = 0, commits - 1 do
    local remember = sub(text, remember_at, remember_at + 7)
    if remember ~= last then
      last, last_ttl = remember, ttl(unpack('>I8', remember), 0)
    end
    local done = pcall('SET', KEYS[key_at + 1 + number], 'C' .. sub(text, digest_at, digest_at + 31), 'PX', last_ttl)
    if done.err then return number, done end
    digest_at, remember_at = digest_at + 32, remember_at + 8
  end
  for number = 0, others - 1 do
    local key = KEYS[key_at + 1 + commits + number]
    local what, claim, digest, remember_until = unpack('>c1c8c32I8', text, others_at + 49 * number)
    local entry = call('GET', key)
    if entry and sub(entry, 1, 1) == 'L' and sub(entry, 15, 30) == gateway .. claim then
      if what == 'R' then
        call('DEL', key)
      else
        local done = pcall('SET', key, 'L' .. lease_end .. gateway .. claim .. digest, 'PX', ttl(remember_until, lease_ms))
        if done.err then return commits + number, done end
      end
    end
  end
  return commits + others
end

local settled, failure = settle()
if failure and not string.find(failure.err, 'OOM', 1, true) then return failure end
key_at = 1 + commits + others

-- Claims.

local with_nonce = 0
for number = 0, claims - 1 do
  if terms[byte(text, codes_at + number)].nonce then with_nonce = with_nonce + 1 end
end
local numbers_at = codes_at + claims
local digests_at = numbers_at + 8 * with_nonce
local first_bucket = key_at + with_nonce + 1
local bucket_count = (#KEYS - first_bucket + 1) / (waits and 2 or 1)
local stored, tats = {}, {}
local stored_holds, holds = {}, {}

local function tat_of(bucket)
  local tat = tats[bucket]
  if not tat then
    tat = tonumber(call('GET', KEYS[first_bucket + bucket]) or '0')
    stored[bucket], tats[bucket] = tat, tat
  end
  return tat
end

local function undo(term, last)
  for debit = last, 1, -1 do
    local wanted = term[debit]
    if wanted.before then tats[wanted.bucket] = wanted.before end
  end
end

-- What becomes of the bucket of a debit, and how long its tokens take.
local function place(wanted)
  local tat, most = tat_of(wanted.bucket), now_us + wanted.capacity
  -- A clock that was set back must not close a bucket for longer than it takes to fill, and the longest wait.
  if tat > most + wanted.delay then tat = most + wanted.delay end
  if tat < now_us then tat = now_us end
  tat = tat + wanted.increment
  return tat, tat > most and tat - most or 0
end

-- Takes the tokens of a claim, or none. Returns nil, or why not; the bucket (from 1) that is waited for, and how
-- long.
local function take(term)
  if term.cost then return COST, term.cost + 1, 0 end
  local limited, wait_longest = nil, 0
  local latest, ahead_longest = 0, 0
  local debit = 1
  while debit <= term.debits do
    local wanted = term[debit]
    local chosen = wanted
    local tat, ahead = place(wanted)
    wanted.before = false
    if wanted.spare then
      debit = debit + 1
      local spare = term[debit]
      spare.before = false
      if ahead > 0 then
        local spare_tat, spare_ahead = place(spare)
        if spare_ahead < ahead then chosen, tat, ahead = spare, spare_tat, spare_ahead end
      end
    end
    if ahead <= term.wait then
      chosen.before = tat_of(chosen.bucket)
      tats[chosen.bucket] = tat
      if ahead > ahead_longest then latest, ahead_longest = wanted.bucket + 1, ahead end
    elseif ahead > wait_longest then
      limited, wait_longest = wanted.bucket + 1, ahead
    end
    debit = debit + 1
  end
  if limited then
    undo(term, term.debits)
    return LIMITED, limited, wait_longest
  end
  if full and term.debits > 0 then
    undo(term, term.debits)
    return FULL, 0, 0
  end
  return nil, latest, ahead_longest
end

-- Until when messages go through the queue of a bucket.
local function hold_of(bucket)
  local hold = holds[bucket]
  if not hold then
    local left_ms = call('PTTL', KEYS[first_bucket + bucket_count + bucket])
    hold = left_ms > 0 and now_us + left_ms * 1000 or 0
    stored_holds[bucket], holds[bucket] = hold, hold
  end
  return hold
end

-- The bucket whose queue a message that needs no wait goes through, because others wait there or did just now.
local function trailed(term)
  for debit = 1, term.debits do
    if hold_of(term[debit].bucket) > now_us then return term[debit].bucket end
  end
end

local function extend(bucket, hold)
  if hold_of(bucket) < hold then holds[bucket] = hold end
end

-- What the nonce says; nil: it is free, and may be leased.
local function nonce_status(key, owner, digest, term)
  local entry = call('GET', key)
  if not entry then
    if not term.new then return HORIZON end
    return full and FULL or nil
  end
  local leased = sub(entry, 1, 1) == 'L'
  local known = leased and sub(entry, 31, 62) or sub(entry, 2)
  if known ~= digest then return CONFLICT end
  if not leased then return DUPLICATE end
  -- Our own lease: the reply to an earlier call was lost, and the tokens are already taken.
  if sub(entry, 15, 30) == owner then return GRANTED, tonumber(sub(entry, 63)) end
  if held or tonumber(sub(entry, 2, 14)) > now_ms then return INFLIGHT end
  -- The lease is over, but before the horizon its commit may be what was lost.
  if not term.known then return HORIZON end
  return full and FULL or nil
end

local lease = 'L' .. lease_end .. gateway
local refused = {}
for number = 0, claims - 1 do
  local term = terms[byte(text, codes_at + number)]
  local status, bucket, wait
  if term.debits > 0 then status, bucket, wait = take(term) end
  local trail, slot
  if not status and term.wait > 0 and term.debits > 0 then
    if wait == 0 then trail = trailed(term) end
    if trail or wait > 0 then slot = now_us + wait end
  end
  if term.nonce then
    key_at = key_at + 1
    local key = KEYS[key_at]
    local claim, digest = sub(text, numbers_at, numbers_at + 7), sub(text, digests_at, digests_at + 31)
    numbers_at, digests_at = numbers_at + 8, digests_at + 32
    local entry = lease .. claim .. digest .. (slot and string.format('%.0f', slot) or '')
    -- Nearly every nonce is new: one command instead of two.
    if status or full or not term.new
      or not call('SET', key, entry, 'PX', term.ttl, 'NX') then
      local found, found_slot = nonce_status(key, gateway .. claim, digest, term)
      if found then
        if not status then undo(term, term.debits) end
        status, bucket, wait, trail, slot = found, 0, 0, nil, nil
        if found_slot then
          status, slot, wait = nil, found_slot, math.max(found_slot - now_us, 0)
        end
      elseif not status then
        call('SET', key, entry, 'PX', term.ttl)
      end
    end
  end
  if status and status ~= GRANTED then
    refused[#refused + 1] = struct.pack('>I2I1I2I8', number, status, bucket, wait)
  elseif slot then
    if trail then
      extend(trail, now_us + TRAIL_US)
    elseif bucket > 0 then
      extend(bucket - 1, slot + GRACE_US)
    end
    refused[#refused + 1] = struct.pack('>I2I1I2I8', number, HELD, bucket, wait)
  end
end

-- Blocks: tokens that a gateway spends within `reach` from now. The bucket's debt is kept so high that it
-- covers them until then: what is spent late still is within burst and rate (docs/decisions.md). At most half
-- of what is there, so that nobody finds a bucket emptied that is not.

local granted = {}
for number = 0, block_count - 1 do
  local bucket, wanted, interval, capacity, reach = unpack('>I2I4I8I8I4', text, blocks_at + 26 * number)
  local tat = math.max(math.min(tat_of(bucket), now_us + capacity), now_us + reach)
  local tokens = math.min(wanted, math.floor((now_us + capacity - tat) / interval / 2))
  if full or tokens < 0 then tokens = 0 end
  if tokens > 0 then tats[bucket] = tat + tokens * interval end
  granted[number + 1] = struct.pack('>I4', tokens)
end

for bucket, tat in pairs(tats) do
  if tat ~= stored[bucket] then
    local ttl_ms = math.ceil((tat - now_us) / 1000) + 1000
    call('SET', KEYS[first_bucket + bucket], string.format('%.0f', tat), 'PX', string.format('%.0f', ttl_ms))
  end
end
for bucket, hold in pairs(holds) do
  if hold ~= stored_holds[bucket] then
    local key = KEYS[first_bucket + bucket_count + bucket]
    call('SET', key, '1', 'PX', string.format('%.0f', math.ceil((hold - now_us) / 1000)))
  end
end
return struct.pack('>c16I8I2I2I2', call_id, call('DBSIZE'), settled, claims, block_count)
  .. table.concat(granted) .. table.concat(refused)

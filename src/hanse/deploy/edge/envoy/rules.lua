-- What Envoy asks at each request: who asks, which route, which release, which pool; and what both sides are told.
-- All that changes is data of the route `edge`: it is read anew where its revision is another one. Nothing of a request
-- is ever run as code.

local bit = require("bit")
local band, bor, bxor, bnot, rol, tobit, tohex = bit.band, bit.bor, bit.bxor, bit.bnot, bit.rol, bit.tobit, bit.tohex
local byte, char, sub, find, format, gsub = string.byte, string.char, string.sub, string.find, string.format, string.gsub

local POOL, MANNER, ADDRESS, MIRROR =
  "x-hanse-pool", "x-hanse-manner", "x-hanse-address", "x-hanse-mirror"
local ONCE = "x-hanse-once"
local BY = "x-hanse-by"
local OWN = "hanse"
local TREE = "hanse-release"
local SOMEBODY = "?"
local HOPS_MAX = 32
local SAFE = {GET = true, HEAD = true, OPTIONS = true, TRACE = true, PUT = true, DELETE = true}
local HOP = {"keep-alive", "proxy-connection", "proxy-authorization", "http2-settings"}
local CLAIMS = {
  ["x-forwarded-prefix"] = true, ["x-forwarded-port"] = true, ["forwarded"] = true, ["x-real-ip"] = true,
}
local SPOOFED = {
  ["x-forwarded-for"] = true, ["x-forwarded-proto"] = true, ["x-forwarded-host"] = true,
  ["x-forwarded-prefix"] = true, ["x-forwarded-port"] = true, ["x-request-id"] = true,
}

-- Randomness comes from the system: traces and cookies are not to be guessed.
local noise, place = "", 1
local function random(count)
  if place + count > #noise then
    local source = assert(io.open("/dev/urandom", "rb"))
    noise, place = source:read(4096), 1
    source:close()
  end
  place = place + count
  return sub(noise, place - count, place - 1)
end

local function hex(count)
  return (gsub(random(count), ".", function(one) return format("%02x", byte(one)) end))
end

local function big(text, at)
  local a, b, c, d = byte(text, at, at + 3)
  return bor(a * 16777216, b * 65536, c * 256, d)
end

local words = {}
local last, last_digest
-- The first 8 bytes of SHA-1, in hex digits. What a request sticks to is most often who asks, and asked for twice.
local function digest(text)
  if text == last then return last_digest end
  local length = #text
  local padded = text .. "\128" .. string.rep("\0", (55 - length) % 64)
    .. format("%c%c%c%c", 0, 0, 0, 0)
    .. char(band(bit.rshift(length * 8, 24), 255), band(bit.rshift(length * 8, 16), 255),
      band(bit.rshift(length * 8, 8), 255), band(length * 8, 255))
  local h0, h1, h2, h3, h4 = 0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0
  for block = 1, #padded, 64 do
    for number = 0, 15 do words[number] = big(padded, block + number * 4) end
    for number = 16, 79 do
      words[number] = rol(bxor(words[number - 3], words[number - 8], words[number - 14], words[number - 16]), 1)
    end
    local a, b, c, d, e = h0, h1, h2, h3, h4
    for number = 0, 79 do
      local f, k
      if number < 20 then f, k = bor(band(b, c), band(bnot(b), d)), 0x5A827999
      elseif number < 40 then f, k = bxor(b, c, d), 0x6ED9EBA1
      elseif number < 60 then f, k = bor(band(b, c), band(b, d), band(c, d)), 0x8F1BBCDC
      else f, k = bxor(b, c, d), 0xCA62C1D6 end
      a, b, c, d, e = tobit(rol(a, 5) + f + e + k + words[number]), a, rol(b, 30), c, d
    end
    h0, h1, h2, h3, h4 = tobit(h0 + a), tobit(h1 + b), tobit(h2 + c), tobit(h3 + d), tobit(h4 + e)
  end
  last, last_digest = text, tohex(h0) .. tohex(h1)
  return last_digest
end

-- A number from 0 up to 9,999: the same as every other engine works out.
local function bucket(text)
  return tonumber(sub(digest(text), 1, 8), 16) % 10000
end

local function groups(text)
  local found = {}
  for group in string.gmatch(text, "[^:]+") do
    if #group > 4 or find(group, "%X") then return nil end
    found[#found + 1] = tonumber(group, 16)
  end
  return found
end

-- An address as 16 bytes, IPv4 within IPv6; nil for what is none.
local function packed(text)
  local a, b, c, d = string.match(text, "^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  if a then
    a, b, c, d = tonumber(a), tonumber(b), tonumber(c), tonumber(d)
    if a > 255 or b > 255 or c > 255 or d > 255 then return nil end
    return "\0\0\0\0\0\0\0\0\0\0\255\255" .. char(a, b, c, d)
  end
  if not find(text, ":", 1, true) or #text > 45 then return nil end
  local four = string.match(text, "^::ffff:(%d+%.%d+%.%d+%.%d+)$")
  if four then return packed(four) end
  local left, right = text, nil
  local gap = find(text, "::", 1, true)
  if gap then left, right = sub(text, 1, gap - 1), sub(text, gap + 2) end
  local first, last = groups(left), groups(right or "")
  if not first or not last or #first + #last > 8 or (not gap and #first ~= 8) then return nil end
  local all = {}
  for number = 1, 8 do
    local value = first[number] or (number > 8 - #last and last[number - 8 + #last]) or 0
    all[number] = char(bit.rshift(value, 8), band(value, 255))
  end
  return table.concat(all)
end

local function within(networks, address)
  for number = 1, #networks do
    local network, bits = networks[number][1], networks[number][2]
    local whole, rest = bit.rshift(bits, 3), band(bits, 7)
    if sub(network, 1, whole) == sub(address, 1, whole) then
      if rest == 0 then return true end
      local mask = band(bit.lshift(255, 8 - rest), 255)
      if band(byte(network, whole + 1), mask) == band(byte(address, whole + 1), mask) then return true end
    end
  end
  return false
end

local function compiled(data)
  for _, name in ipairs({"trusted", "forcing"}) do
    local networks = {}
    for number, network in ipairs(data[name] or {}) do
      networks[number] = {packed(network[1]), network[2]}
    end
    data[name] = networks
  end
  return data
end

local seen, data
local function current(handle)
  local metadata = handle:metadata()
  local revision = metadata:get("revision")
  if revision == nil then return nil end
  if revision ~= seen then data, seen = compiled(metadata:get("data")), revision end
  return data
end

local function decoded(path)
  if not find(path, "%", 1, true) then return path end
  return (gsub(path, "%%(%x%x)", function(code) return char(tonumber(code, 16)) end))
end

local function longest(paths, path)
  for number = 1, #(paths or {}) do
    local prefix = paths[number][1]
    if sub(path, 1, #prefix) == prefix then
      local after = byte(path, #prefix + 1)
      if after == nil or after == 47 then return paths[number] end
    end
  end
end

local function route_of(known, host, path)
  local name = string.lower(host)
  if byte(name) == 91 then name = gsub(name, "%].*$", "]") else name = gsub(gsub(name, ":.*$", ""), "%.+$", "") end
  local found = longest(known.exact[name], path)
  local number = 1
  while not found and number <= #known.below do
    local below = known.below[number]
    if #name > #below[1] and sub(name, -#below[1]) == below[1] then found = longest(below[2], path) end
    number = number + 1
  end
  return found or longest(known.any, path)
end

local function cookie_of(cookies, name)
  if not cookies then return nil end
  for entry in string.gmatch(cookies, "[^;]+") do
    local key, value = string.match(entry, "^%s*([^=]-)%s*=%s*(.-)%s*$")
    if key == name then return (gsub(value, '^"(.*)"$', "%1")) end
  end
end

-- Who asks: the nearest of those that named themselves who is no trusted proxy.
local function asker(known, headers, peer)
  local address, bytes = peer, packed(peer)
  local trusted = bytes ~= nil and within(known.trusted, bytes)
  if not trusted then return address, bytes, false end
  local hops = {}
  for hop in string.gmatch(headers:get("x-forwarded-for") or "", "[^,%s]+") do hops[#hops + 1] = hop end
  for number = #hops, math.max(1, #hops - HOPS_MAX + 1), -1 do
    local hop = packed(hops[number])
    if not hop then break end
    address, bytes = hops[number], hop
    if not within(known.trusted, hop) then break end
  end
  return address, bytes, true
end

-- Who asks, as a hash, as far as a request says so by what it sticks to: behind one address there may be many.
local function who_asks(service, headers, cookies)
  for number = 1, #service.marks do
    local kind, name = service.marks[number][1], service.marks[number][2]
    local value = kind == "header" and headers:get(name) or kind == "cookie" and cookie_of(cookies, name)
    if value and value ~= "" then return digest(service.salt .. ":" .. value) end
  end
  return SOMEBODY
end

local function stuck(service, headers, cookies, address)
  for number = 1, #service.sticks do
    local kind, name = service.sticks[number][1], service.sticks[number][2]
    local value
    if kind == "address" then value = address
    elseif kind == "header" then value = headers:get(name)
    else value = cookie_of(cookies, name) end
    if value and value ~= "" then return value end
  end
  if service.cookie ~= "" then
    local value = cookie_of(cookies, service.cookie)
    if value and value ~= "" then return value end
    value = hex(7)
    return value, value
  end
  return hex(7)
end

-- What `baggage` carries: the release of the request tree, as it was written, and all else.
local function carried(headers)
  local baggage = headers:get("baggage")
  local found, others = nil, {}
  for member in string.gmatch(baggage or "", "[^,]+") do
    local plain = string.match(member, "^%s*(.-)%s*$")
    local name, value = string.match(plain, "^([^=;]-)%s*=%s*([^;]*)")
    if name == TREE then found = found or string.match(value, "^(.-)%s*$")
    elseif plain ~= "" then others[#others + 1] = plain end
  end
  return found, others
end

-- Whoever is asked next meets the same releases; what strangers say of that is not handed on.
local function handed_on(headers, release, found, others)
  if not release and not found then return end
  if release then table.insert(others, 1, TREE .. "=" .. release) end
  if #others > 0 then headers:replace("baggage", table.concat(others, ",")) else headers:remove("baggage") end
end

-- The pool that answers, the address of a seat there, and the value of a cookie to set.
local function pool_of(service, headers, cookies, address, forces, tree)
  local wish = headers:get(service.forced_by)
  if wish and forces and service.forced[wish] then return service.forced[wish] end
  if wish and not forces then headers:remove(service.forced_by) end
  for name, seats in pairs(service.seats) do
    local seat = seats[cookie_of(cookies, name) or ""]
    if seat then return seat[1], seat[2] end
  end
  local own = tree and service.forced[decoded(tree)]
  if own then return own end
  local shares = service.shares
  if #shares == 1 then return shares[1][2] end
  local key, drawn = stuck(service, headers, cookies, address)
  local at = bucket(service.salt .. ":" .. key)
  for number = 1, #shares do
    if at < shares[number][1] then return shares[number][2], nil, drawn end
  end
  return shares[#shares][2], nil, drawn
end

local function problem(handle, known, name, id)
  local told = {[":status"] = known.problems[name][1], ["content-type"] = "application/problem+json",
    ["cache-control"] = "no-store"}
  if id then told["x-request-id"] = id end
  if told[":status"] == "503" then told["retry-after"] = "1" end
  if name ~= "not_routed" and name ~= "unavailable" then told["connection"] = "close" end
  handle:respond(told, known.problems[name][2])
end

-- Names that claim what only an edge may say, however they are spelled, are not handed on; and what is Envoy's own.
local function cleaned(headers, trusted)
  local gone = {}
  for name, _ in pairs(headers) do
    local plain = gsub(name, "_", "-")
    if sub(name, 1, 8) == "x-envoy-" or plain == "x-hanse-shadow" or (plain ~= name and SPOOFED[plain])
      or (not trusted and CLAIMS[name]) or name == POOL or name == MANNER or name == ADDRESS or name == ONCE
      or name == MIRROR then
      gone[#gone + 1] = name
    end
  end
  for number = 1, #gone do headers:remove(gone[number]) end
  for number = 1, #HOP do headers:remove(HOP[number]) end
end

local function traced(headers)
  local trace = headers:get("traceparent")
  local id = trace and string.match(trace, "^%x%x%-(%x+)%-%x+%-%x%x$")
  if not id or #trace ~= 55 or #id ~= 32 or find(trace, "%u") then
    id = hex(16)
    headers:replace("traceparent", "00-" .. id .. "-" .. hex(8) .. "-01")
  end
  local request = headers:get("x-request-id")
  if not request or #request > 128 or request == "" or find(request, "[^!-~]") then
    request = id
    headers:replace("x-request-id", request)
  end
  return request, id
end

local function told(known, headers, peer, host, trusted)
  local before = trusted and headers:get("x-forwarded-for")
  headers:replace("x-forwarded-for", before and before ~= "" and (before .. ", " .. peer) or peer)
  if not trusted or not headers:get("x-forwarded-proto") then headers:replace("x-forwarded-proto", known.scheme) end
  if not trusted or not headers:get("x-forwarded-host") then headers:replace("x-forwarded-host", host) end
end

local function stripped(headers, route, path)
  local rest = sub(path, 1)
  for _ = 1, route[3] do rest = gsub(rest, "^/[^/?]*", "", 1) end
  if byte(rest) ~= 47 then rest = "/" .. rest end
  headers:replace(":path", rest)
  headers:replace("x-forwarded-prefix", (headers:get("x-forwarded-prefix") or "") .. route[4])
end

-- How it is sent: whether it may be sent again, and how long silence is borne.
local function manner(service, headers, method)
  local keyed = headers:get("idempotency-key") ~= nil
  local safe = SAFE[method] == true or keyed
  local upgrade, accept = headers:get("upgrade"), headers:get("accept")
  local kind = "p"
  if upgrade and string.lower(upgrade) == "websocket" then kind = "t"
  elseif service.grpc or (accept and find(accept, "text/event-stream", 1, true)) then kind = "e" end
  local length = tonumber(headers:get("content-length") or "0") or 0
  local again = safe and length <= service.body_bytes
  return service.manner .. kind .. (again and "a" or "o"), safe or service.reuse, safe
end

function envoy_on_request(handle)
  local headers = handle:headers()
  if headers:get(MANNER) then
    headers:remove(MANNER)
    handle:clearRouteCache()
  end
  local known = current(handle)
  local method, path, host = headers:get(":method"), headers:get(":path") or "", headers:get(":authority") or ""
  if not known then
    handle:respond({[":status"] = method == "CONNECT" and "501" or "400", ["connection"] = "close"}, "")
    return
  end
  if known.empty then return problem(handle, known, "unavailable") end
  local plain = gsub(path, "[?#].*$", "")
  local clear = decoded(plain)
  if find(path, "[^!-~]") or byte(path) ~= 47 or find(clear, "%z") or find(host, "[^%[%]A-Za-z0-9._:-]") or host == ""
    or find(clear .. "/", "/%.%.?/") then
    return problem(handle, known, "malformed")
  end
  local peer = handle:streamInfo():downstreamDirectRemoteAddress()
  peer = string.match(peer, "^%[(.*)%]:%d+$") or string.match(peer, "^(.*):%d+$") or peer
  local address, bytes, trusted = asker(known, headers, peer)
  cleaned(headers, trusted)
  local route = route_of(known, host, clear)
  local request, trace = traced(headers)
  if not route then return problem(handle, known, "not_routed", request) end
  local service = known.services[route[2]]
  told(known, headers, peer, host, trusted)
  local cookies = headers:get("cookie")
  local forces = bytes ~= nil and within(known.forcing, bytes)
  local found, others = carried(headers)
  local tree = forces and found ~= "" and found or nil
  local pool, seat, drawn = pool_of(service, headers, cookies, address, forces, tree)
  handed_on(headers, tree or service.carried[pool], found, others)
  local said = handle:streamInfo():dynamicMetadata()
  said:set(OWN, "route", route[5])
  said:set(OWN, "service", service.name)
  if service.looks then said:set(OWN, "who", who_asks(service, headers, cookies)) end
  if drawn then said:set(OWN, "drawn", service.cookie .. "=" .. drawn) end
  local sticky = service.sticky[pool]
  if sticky then
    said:set(OWN, "seat", sticky .. "=" .. service.releases[pool] .. "=" .. (cookie_of(cookies, sticky) or ""))
  end
  local how, reuses, safe = manner(service, headers, method)
  if known.access then
    said:set(OWN, "path", sub(plain, 1, 200))
    said:set(OWN, "address", address)
    said:set(OWN, "trace", trace)
  end
  if not safe then said:set(OWN, "once", "1") end
  if route[3] > 0 then stripped(headers, route, path) end
  if not service.grpc then headers:remove("te") end
  headers:replace(ADDRESS, address)
  headers:replace(POOL, pool)
  if not reuses then
    -- Such requests are kept apart from idle connections, which their server may be closing.
    headers:replace(ONCE, hex(8))
    headers:replace("connection", "close")
  end
  headers:replace(MANNER, how)
  if seat then handle:setUpstreamOverrideHost(seat, false) end
  handle:clearRouteCache()
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local by = headers:get(BY)
  headers:remove(BY)
  headers:remove("keep-alive")
  headers:remove("proxy-connection")
  local own = handle:streamInfo():dynamicMetadata():get(OWN)
  if not own or not by then return end
  local rest = "; Path=/; HttpOnly; SameSite=Lax" .. (data.scheme == "https" and "; Secure" or "")
  if own.drawn then headers:add("set-cookie", own.drawn .. rest) end
  if own.seat then
    local name, release, had = string.match(own.seat, "^(.-)=(.-)=(.*)$")
    -- Another release takes over names of this one.
    local seat = by .. "@" .. release
    if had ~= seat then headers:add("set-cookie", name .. "=" .. seat .. rest) end
  end
end

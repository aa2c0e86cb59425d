-- Health of a Pipeline for Argo CD. Argo CD gives scripts no string library.

-- The condition of a type, if it is about the spec as it is now.
local function condition(kind)
  for _, candidate in ipairs((obj.status or {}).conditions or {}) do
    if candidate.type == kind then
      local seen = candidate.observedGeneration or (obj.status or {}).observedGeneration
      if seen == nil or obj.metadata.generation == nil or seen >= obj.metadata.generation then
        return candidate
      end
    end
  end
  return nil
end

local function answer(status, about, otherwise)
  return {status = status, message = about and about.message or otherwise}
end

if obj.metadata.deletionTimestamp ~= nil then
  return answer("Progressing", nil, "It is being deleted")
end

local accepted = condition("Accepted")
if accepted == nil then
  return answer("Progressing", nil, "The operator has not seen this generation yet")
end
if accepted.status == "False" then
  return answer("Degraded", accepted)
end

if (obj.spec or {}).suspend == true then
  return answer("Suspended", nil, "spec.suspend is true: no document is taken")
end

local degraded = condition("Degraded")
if degraded ~= nil and degraded.status == "True" then
  return answer("Degraded", degraded)
end

local ready = condition("Ready")
if ready ~= nil and ready.status == "True" then
  return answer("Healthy", ready)
end

-- It waits for others: what it waits for says more than that it is not ready.
for _, kind in ipairs({"StreamsReady", "PoolsReady"}) do
  local awaited = condition(kind)
  if awaited ~= nil and awaited.status ~= "True" then
    return answer("Progressing", awaited)
  end
end
return answer("Progressing", ready, "Not ready yet")

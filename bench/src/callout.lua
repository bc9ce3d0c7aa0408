function envoy_on_request(handle)
  local answer = handle:httpCall("auth", {
    [":method"] = "GET",
    [":path"] = "/authz",
    [":authority"] = "auth",
    ["authorization"] = handle:headers():get("authorization"),
  }, "", 10000)
  if answer[":status"] ~= "200" then
    handle:respond({[":status"] = "401"}, "")
    return
  end
  -- Only now, because headers fetched before the call cannot be used after it.
  local headers = handle:headers()
  headers:remove("authorization")
  headers:replace("x-keystile-key-id", answer["x-keystile-key-id"])
  headers:replace("x-keystile-account-id", answer["x-keystile-account-id"])
end

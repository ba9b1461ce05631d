curl -sSN --fail-with-body "$BASE/v1/chat/completions" \
  -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" -d "$REQUEST"

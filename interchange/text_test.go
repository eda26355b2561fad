package interchange

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

func textOf(t *testing.T, items ...Item) string {
	t.Helper()
	var text bytes.Buffer
	if err := WriteText(&text, items); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// A field that is added to the schema must get its line.
func TestTextIsComplete(t *testing.T) {
	for _, k := range kinds {
		item, texts := full(k)
		text := textOf(t, item)
		for _, want := range texts {
			if !strings.Contains(text, want+"\n") && !strings.Contains(text, want+":") {
				t.Errorf("%s: no %s in\n%s", k.member, want, text)
			}
		}
	}
	held := Item{
		Metadata: &recordv1.SlotMetadata{Kind: recordv1.SlotMetadata_KIND_HELD_SHARE, Title: "share"},
		Secret: &recordv1.Secret{Kind: &recordv1.Secret_HeldShare{HeldShare: &recordv1.HeldShare{
			Envelope: []byte("envelope"), Share: []byte("share"), Owner: "Ada",
		}}},
	}
	text := textOf(t, held)
	for _, want := range []string{"kind: held share", "held for: Ada", hex.EncodeToString([]byte("envelope")), hex.EncodeToString([]byte("share"))} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

func TestText(t *testing.T) {
	items, err := ReadBitwarden(strings.NewReader(`{"folders":[{"id":"1","name":"Häuser"}],"items":[
		{"id":"i","type":1,"name":"bank\nkind: note","folderId":"1","favorite":true,"creationDate":"2024-01-06T08:00:00.000Z",
		 "notes":"one\n\n  two\n\u001b[31m\n","passwordHistory":[{"password":"old","lastUsedDate":"2025-02-02T02:02:02.000Z"}],
		 "fields":[{"name":"PIN","value":"0042","type":1},{"name":"user","value":null,"type":3,"linkedId":100}],
		 "login":{"uris":[{"uri":"https://bank.example","match":3}],"username":"me","password":" p ","totp":"\"q\""}},
		{"type":2,"name":"empty note"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range items {
		item.Secret.Rest = ""
		for _, field := range item.Secret.Fields {
			field.Rest = ""
		}
	}
	want := `Secrets from ZeroPass, readable by everybody who sees this text.
Items: 2. A text in double quotes is written with escapes: \n is a line
break, \t a tab, \" a quote, \\ a backslash, \u00a0 the character U+00A0.

1. "bank\nkind: note"
   kind: login
   folder: Häuser
   favorite: yes
   user name: me
   address: https://bank.example
     matching: 3
   password: " p "
   one-time password key: "\"q\""
   notes:
     | one
     | 
     | "  two"
     | "\x1b[31m"
     | 
   field PIN: 0042
     type: hidden
   field user:
     type: linked
     linked to: Bitwarden's number 100
   past password: old
     last used: 2025-02-02T02:02:02.000Z
   created: 2024-01-06T08:00:00.000Z
   id where it was imported from: i

2. empty note
   kind: note
`
	if got := textOf(t, items...); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := textOf(t, Item{}); !strings.Contains(got, "kind: unspecified\n") {
		t.Errorf("an item of nothing: %s", got)
	}
}

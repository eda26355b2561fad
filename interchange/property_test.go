package interchange

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// A draw gives JSON values as Bitwarden's and other programs' files have them.
type draw struct{ t *rapid.T }

func pick[V any](d draw, values ...V) V { return rapid.SampledFrom(values).Draw(d.t, "value") }

func (d draw) text() any { return pick[any](d, nil, "", "a", d.any()) }

// any is any valid text, most of all what is awkward in JSON.
func (d draw) any() string {
	return rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"\x00", "<>&\u2028", "🔑\u200d", `\ud800`, "\r\n"})).Draw(d.t, "text")
}

// other is a value of a member that no field is for.
func (d draw) other(depth int) any {
	switch n := rapid.IntRange(0, 6).Draw(d.t, "kind"); {
	case n == 0 && depth > 0:
		list := []any{}
		for range rapid.IntRange(0, 2).Draw(d.t, "elements") {
			list = append(list, d.other(depth-1))
		}
		return list
	case n == 1 && depth > 0:
		object := map[string]any{}
		for range rapid.IntRange(0, 2).Draw(d.t, "members") {
			object[d.any()] = d.other(depth - 1)
		}
		return object
	case n == 2:
		return pick[any](d, nil, true, false)
	case n == 3:
		return pick(d, json.Number("0"), "1.50", "-0", "1e400", "12345678901234567890")
	}
	return d.text()
}

func (d draw) whole() any { return pick[any](d, nil, json.Number("0"), json.Number("3")) }

func (d draw) date() any {
	return pick[any](d, nil, "2024-01-06T08:00:00.000Z", "1970-01-01T00:00:00.000Z", "1970-01-01T00:00:00.0001Z",
		"2020-06-11T17:01:21.8412345+02:00", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z")
}

// object keeps some of the members, and adds others.
func (d draw) object(members map[string]any, required ...string) any {
	object := map[string]any{}
	for _, name := range required {
		object[name] = members[name]
	}
	for _, name := range names(members) {
		if rapid.IntRange(0, 3).Draw(d.t, "present") > 0 {
			object[name] = members[name]
		}
	}
	for rapid.IntRange(0, 3).Draw(d.t, "more") == 0 {
		if name := d.any(); !knownNames()[name] {
			object[name] = d.other(2)
		}
	}
	return object
}

func (d draw) list(element func() any) any {
	if rapid.IntRange(0, 3).Draw(d.t, "null") == 0 {
		return nil
	}
	list := []any{}
	for range rapid.IntRange(0, 3).Draw(d.t, "elements") {
		list = append(list, element())
	}
	return list
}

func (d draw) texts(names ...string) any {
	members := map[string]any{}
	for _, name := range names {
		members[name] = d.text()
	}
	return d.object(members)
}

func (d draw) uri() any { return d.object(map[string]any{"uri": d.text(), "match": d.whole()}) }

func (d draw) field() any {
	kind := pick(d, json.Number("0"), "1", "2", "3")
	return d.object(map[string]any{"type": kind, "name": d.text(), "value": d.text(), "linkedId": d.whole()}, "type")
}

func (d draw) item() any {
	k := pick(d, kinds...)
	members := map[string]any{
		"type": k.number, "id": d.text(), "name": d.text(), "notes": d.text(),
		"favorite": pick[any](d, nil, true, false), "reprompt": d.whole(),
		"folderId": pick[any](d, nil, "", "1", "2", "3", folderID("A", 0)), "organizationId": d.text(),
		"collectionIds": d.list(func() any { return pick[any](d, "c", "d") }),
		"creationDate":  d.date(), "revisionDate": d.date(), "deletedDate": d.date(),
		"passwordHistory": d.list(func() any { return d.texts("password", "lastUsedDate") }),
		"fields":          d.list(d.field),
	}
	required := []string{"type"}
	switch k.member {
	case "login":
		members["login"] = d.object(map[string]any{
			"uris": d.list(d.uri), "username": d.text(), "password": d.text(), "totp": d.text(),
			"fido2Credentials": d.list(func() any { return d.texts("credentialId", "keyValue") }),
		})
	case "secureNote":
		members["secureNote"] = d.object(map[string]any{"type": d.whole()})
	case "card":
		members["card"] = d.texts("cardholderName", "brand", "number", "expMonth", "expYear", "code")
	case "identity":
		members["identity"] = d.texts("title", "firstName", "ssn", "username", "licenseNumber")
	case "sshKey":
		key := map[string]any{"privateKey": "p" + d.any(), "publicKey": "p", "keyFingerprint": "f"}
		members["sshKey"] = d.object(key, "privateKey", "publicKey", "keyFingerprint")
		required = append(required, "sshKey")
	}
	if k.member != "sshKey" && rapid.IntRange(0, 4).Draw(d.t, "null") == 0 {
		members[k.member] = nil
	}
	return d.object(members, required...)
}

// What is imported is exported member for member, and imported the same again.
func TestImportedItemsAreKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw{t}
		file := map[string]any{
			"folders": []any{
				map[string]any{"id": "1", "name": d.any()}, map[string]any{"id": "2", "name": "A", "x": d.other(1)},
				map[string]any{"id": folderID("A", 0), "name": pick(d, "A", "B")},
			},
			"collections": []any{map[string]any{"id": "c", "name": d.any(), "externalId": d.text()}},
			"items":       []any{d.item(), d.item()},
		}
		var text bytes.Buffer
		if err := encode(&text, file, ""); err != nil {
			t.Fatal(err)
		}
		roundTrip(t, text.Bytes())
	})
}

// What is made here is exported and imported the same.
func TestOwnItemsAreKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw{t}
		var items []Item
		for range rapid.IntRange(1, 3).Draw(t, "items") {
			items = append(items, d.own())
		}
		var file bytes.Buffer
		if err := WriteBitwarden(&file, items); err != nil {
			t.Fatal(err)
		}
		again, err := ReadBitwarden(&file)
		if err != nil {
			t.Fatal(err)
		}
		equalItems(t, again, items)
	})
}

func (d draw) own() Item {
	item := newItem(pick(d, kinds...))
	m, s := item.Metadata, item.Secret
	m.Title, m.Folder, m.SourceId, s.Notes = d.any(), pick(d, "", "A", d.any()), d.any(), d.any()
	m.Favorite = rapid.Bool().Draw(d.t, "favorite")
	m.Created = rapid.Int64Range(-62167219200000, 253402300799999).Draw(d.t, "created")
	m.Revised = pick(d, int64(0), 1)
	for range rapid.IntRange(0, 2).Draw(d.t, "fields") {
		s.Fields = append(s.Fields, &recordv1.Field{
			Type: recordv1.Field_Type(rapid.Int32Range(1, 4).Draw(d.t, "type")),
			Name: d.any(), Value: d.any(), Linked: rapid.Uint64().Draw(d.t, "linked"),
		})
	}
	for range rapid.IntRange(0, 2).Draw(d.t, "history") {
		s.PasswordHistory = append(s.PasswordHistory, &recordv1.PastPassword{Password: d.any(), LastUsed: d.any()})
	}
	switch k := s.Kind.(type) {
	case *recordv1.Secret_Login:
		m.UserName, k.Login.Password, k.Login.Totp = d.any(), d.any(), d.any()
		k.Login.Fido2 = pick(d, "", `[{"counter":0}]`)
		for range rapid.IntRange(0, 2).Draw(d.t, "addresses") {
			m.Uris = append(m.Uris, &recordv1.Uri{Uri: d.any(), Match: pick(d, "", "0", "5")})
		}
	case *recordv1.Secret_Card:
		k.Card.Number, k.Card.Code = d.any(), d.any()
	case *recordv1.Secret_Identity:
		k.Identity.FirstName, k.Identity.UserName = d.any(), d.any()
	case *recordv1.Secret_SshKey:
		k.SshKey.PrivateKey, k.SshKey.PublicKey, k.SshKey.Fingerprint = "p"+d.any(), "p", "f"
	}
	return item
}

// Accepted files are written as they were read, others give nothing but an
// Error that has a next step.
func FuzzReadBitwarden(f *testing.F) {
	sample, err := os.ReadFile("testdata/bitwarden_export.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample)
	for _, file := range shapes {
		f.Add([]byte(file))
	}
	f.Add([]byte(`{"encrypted":true}`))
	f.Add([]byte(`{"items":[{"type":1,"type":1,"x":"\ud800` + "\xff" + `"}]}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		items, err := ReadBitwarden(bytes.NewReader(file))
		if err != nil {
			if wrong, ok := errors.AsType[*Error](err); !ok || wrong.Hint == "" || items != nil || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%d items, error %v", len(items), err)
			}
			return
		}
		if !json.Valid(file) {
			t.Fatal("accepted what is no JSON")
		}
		roundTrip(t, file)
		var text bytes.Buffer
		if err := WriteText(&text, items); err != nil {
			t.Fatal(err)
		}
	})
}

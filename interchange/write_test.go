package interchange

import (
	"bytes"
	"encoding/hex"
	"maps"
	"math/rand"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/slip39"
)

// fill sets every field of a message and of the messages in it to a value that
// occurs nowhere else; of a oneof only the member that is set. It returns the
// texts that a person should find.
func fill(m protoreflect.Message, next *int) []string {
	var texts []string
	value := func(field protoreflect.FieldDescriptor) protoreflect.Value {
		*next++
		switch field.Kind() {
		case protoreflect.StringKind:
			text := field.TextName() + "-" + strings.Repeat("x", *next)
			texts = append(texts, text)
			return protoreflect.ValueOfString(text)
		case protoreflect.BytesKind:
			return protoreflect.ValueOfBytes([]byte{byte(*next), 2})
		case protoreflect.BoolKind:
			return protoreflect.ValueOfBool(true)
		case protoreflect.Uint64Kind:
			return protoreflect.ValueOfUint64(uint64(*next))
		case protoreflect.Int64Kind:
			return protoreflect.ValueOfInt64(int64(*next))
		case protoreflect.EnumKind:
			return protoreflect.ValueOfEnum(1)
		}
		panic("a field of a kind that this test does not know: " + string(field.FullName()))
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		switch {
		case field.IsList():
			list := m.Mutable(field).List()
			for range 2 {
				texts = append(texts, fill(list.AppendMutable().Message(), next)...)
			}
		case field.ContainingOneof() != nil:
			if m.Has(field) {
				texts = append(texts, fill(m.Mutable(field).Message(), next)...)
			}
		default:
			m.Set(field, value(field))
		}
	}
	return texts
}

// full returns an item of a kind with every field set, and its texts.
func full(k kind) (Item, []string) {
	item, next := newItem(k), 0
	texts := append(fill(item.Metadata.ProtoReflect(), &next), fill(item.Secret.ProtoReflect(), &next)...)
	item.Metadata.Kind = k.kind
	return item, texts
}

// A field that is added to the schema must get its place in Bitwarden's format.
func TestEveryFieldIsWritten(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.member, func(t *testing.T) {
			item, _ := full(k)
			item.Secret.Rest = ""
			for _, field := range item.Secret.Fields {
				field.Rest = ""
			}
			for i, uri := range item.Metadata.Uris {
				uri.Match = []string{"", "3"}[i]
			}
			if k.member == "login" {
				item.Secret.GetLogin().Fido2 = `[{"a":1}]`
			} else {
				item.Metadata.UserName, item.Metadata.Uris = "", nil
			}
			var file bytes.Buffer
			if err := WriteBitwarden(&file, []Item{item}); err != nil {
				t.Fatal(err)
			}
			again, err := ReadBitwarden(&file)
			if err != nil {
				t.Fatal(err)
			}
			equalItems(t, again, []Item{item})
		})
	}
}

// What an import kept beside the fields must not undo a change of the fields.
func TestChangesAfterImport(t *testing.T) {
	file := `{"folders":[{"id":"1","name":"A","x":1}],"items":[{"type":1,"name":null,"notes":"","favorite":null,
		"folderId":"1","creationDate":"2020-06-11T19:01:21+02:00","passwordHistory":[{"password":"gone","x":1}],
		"fields":[{"type":0,"name":"n","value":"","x":1}],
		"login":{"username":"","totp":"","uris":[{"uri":"a"},{"uri":"b","x":1}]}}]}`
	items, err := ReadBitwarden(strings.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	m, s := items[0].Metadata, items[0].Secret
	m.Title, s.Notes, m.Favorite, m.Folder, m.Created, m.UserName = "t", "n", true, "B", 1, "u"
	m.Uris, s.PasswordHistory = m.Uris[:1], nil
	s.Fields[0].Value = "v"
	s.GetLogin().Password, s.GetLogin().Totp = "p", "o"

	var written bytes.Buffer
	if err := WriteBitwarden(&written, items); err != nil {
		t.Fatal(err)
	}
	want := `{"encrypted":false,"folders":[{"id":"` + folderID("B", 0) + `","name":"B"},{"id":"1","name":"A","x":1}],"items":[
		{"type":1,"name":"t","notes":"n","favorite":true,"folderId":"` + folderID("B", 0) + `",
		"creationDate":"1970-01-01T00:00:00.001Z","passwordHistory":null,
		"fields":[{"type":0,"name":"n","value":"v","x":1}],
		"login":{"username":"u","password":"p","totp":"o","uris":[{"uri":"a","match":null}]}}]}`
	got, expected := decode(t, written.Bytes()), decode(t, []byte(want))
	if !same(got["items"], expected["items"]) {
		t.Errorf("written %s\nwant %s", written.Bytes(), want)
	}
	if strings.Contains(s.Rest, "gone") {
		t.Error("the rest holds a deleted password")
	}
}

func TestItemsOfSeveralImports(t *testing.T) {
	var items []Item
	for _, file := range []string{
		`{"folders":[{"id":"1","name":"A"}],"items":[{"type":2,"folderId":"1"},{"type":2,"folderId":"nowhere"}]}`,
		`{"folders":[{"id":"1","name":"B"}],"items":[{"type":2,"folderId":"1"}]}`,
		`{"folders":[{"id":"nowhere","name":"C"}],"items":[{"type":2,"folderId":"nowhere"}]}`,
		`{"folders":[{"id":"` + folderID("D", 0) + `","name":"E"}],"items":[{"type":2,"folderId":"` + folderID("D", 0) + `"}]}`,
		`{"items":[{"type":2}]}`,
		`{"collections":[{"id":"c","name":"F"}],"items":[{"type":2,"collectionIds":["c"]}]}`,
	} {
		more, err := ReadBitwarden(strings.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, more...)
	}
	items[5].Metadata.Folder = "D" // whose id is taken

	var file bytes.Buffer
	if err := WriteBitwarden(&file, items); err != nil {
		t.Fatal(err)
	}
	again, err := ReadBitwarden(&file)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"A", "", "B", "C", "E", "D", ""} {
		if got := again[i].Metadata.Folder; got != want {
			t.Errorf("item %d is in folder %q, want %q", i+1, got, want)
		}
	}
}

func TestBadItems(t *testing.T) {
	login := func(change func(m *recordv1.SlotMetadata, s *recordv1.Secret)) Item {
		item := newItem(kinds[0])
		item.Metadata.Title, item.Secret.Notes = "mine", canary
		change(item.Metadata, item.Secret)
		return item
	}
	tests := []struct {
		name string
		item Item
		want Error
	}{
		{"nothing", Item{}, Error{Problem: "has no metadata or no secret"}},
		{"no kind", login(func(m *recordv1.SlotMetadata, _ *recordv1.Secret) { m.Kind = 0 }), Error{Item: "mine", Problem: "is of no known kind"}},
		{"no secret kind", login(func(_ *recordv1.SlotMetadata, s *recordv1.Secret) { s.Kind = nil }), Error{Item: "mine", Problem: "has metadata and a secret of different kinds"}},
		{"nil in the secret kind", login(func(_ *recordv1.SlotMetadata, s *recordv1.Secret) { s.Kind = &recordv1.Secret_Login{} }), Error{Item: "mine", Problem: "has metadata and a secret of different kinds"}},
		{"other secret kind", login(func(_ *recordv1.SlotMetadata, s *recordv1.Secret) { s.Kind = newItem(kinds[2]).Secret.Kind }), Error{Item: "mine", Problem: "has metadata and a secret of different kinds"}},
		{"nil address", login(func(m *recordv1.SlotMetadata, _ *recordv1.Secret) { m.Uris = []*recordv1.Uri{nil} }), Error{Item: "mine", Problem: "has an element that is nil"}},
		{"match is text", login(func(m *recordv1.SlotMetadata, _ *recordv1.Secret) { m.Uris = []*recordv1.Uri{{Match: canary}} }), Error{Item: "mine", Field: "login.uris[0].match", Problem: "is not a whole number"}},
		{"invalid UTF-8", login(func(_ *recordv1.SlotMetadata, s *recordv1.Secret) { s.Notes = canary + "\xff" }), Error{Item: "mine", Field: "notes", Problem: "is not UTF-8 text"}},
		{"invalid UTF-8 in the folder", login(func(m *recordv1.SlotMetadata, _ *recordv1.Secret) { m.Folder = canary + "\xff" }), Error{Item: "mine", Field: "folderId", Problem: "is not UTF-8 text"}},
		{"date after the year 9999", login(func(m *recordv1.SlotMetadata, _ *recordv1.Secret) { m.Created = 1 << 50 }), Error{Item: "mine", Field: "creationDate", Problem: "is not a date like 2006-01-02T15:04:05.000Z"}},
		{"field of no type", login(func(_ *recordv1.SlotMetadata, s *recordv1.Secret) { s.Fields = []*recordv1.Field{{Value: canary}} }), Error{Item: "mine", Field: "fields[0].type", Problem: "is not 0 (text), 1 (hidden), 2 (boolean) or 3 (linked)"}},
		{"credentials are no JSON", login(func(_ *recordv1.SlotMetadata, s *recordv1.Secret) { s.GetLogin().Fido2 = canary }), Error{Item: "mine", Field: "login.fido2Credentials", Problem: "is not a list"}},
		{"rest is no JSON", login(func(_ *recordv1.SlotMetadata, s *recordv1.Secret) { s.Rest = canary }), Error{Item: "mine", Problem: "has a rest that this program did not write"}},
		{"rest is a list", login(func(_ *recordv1.SlotMetadata, s *recordv1.Secret) { s.Rest = `["` + canary + `"]` }), Error{Item: "mine", Problem: "has a rest that this program did not write"}},
		{"rest of another form", login(func(_ *recordv1.SlotMetadata, s *recordv1.Secret) { s.Rest = `{"members":{"notes":"` + canary + `"}}` }), Error{Item: "mine", Field: "notes", Problem: "has a rest that this program did not write"}},
		{"folder in rest without id", login(func(_ *recordv1.SlotMetadata, s *recordv1.Secret) {
			s.Rest = `{"members":{"folderId":{"folder":{"name":"` + canary + `"}}}}`
		}), Error{Item: "mine", Field: "id", Problem: "is not text"}},
		{"kept member of another type", login(func(_ *recordv1.SlotMetadata, s *recordv1.Secret) {
			s.Rest = `{"members":{"deletedDate":{"as":"` + canary + `"}}}`
		}), Error{Item: "mine", Field: "deletedDate", Problem: "is not a date like 2006-01-02T15:04:05.000Z"}},
		{"rest of a field", login(func(_ *recordv1.SlotMetadata, s *recordv1.Secret) {
			s.Fields = []*recordv1.Field{{Type: recordv1.Field_TYPE_TEXT, Rest: canary}}
		}), Error{Item: "mine", Field: "fields[0]", Problem: "has a rest that this program did not write"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var file bytes.Buffer
			err := WriteBitwarden(&file, []Item{newItem(kinds[1]), test.item})
			test.want.Row = 2
			checkError(t, err, test.want)
			if file.Len() > 0 {
				t.Error("something was written")
			}
		})
	}
}

// What Bitwarden has no place for must not be lost, and must not stop an export.
func TestWriteWhatBitwardenLacks(t *testing.T) {
	shares, err := slip39.Split(rand.New(rand.NewSource(1)), bytes.Repeat([]byte{7}, 64), nil, slip39.Params{
		Extendable: true, GroupThreshold: 1, Groups: []slip39.Group{{Threshold: 1, Count: 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	share, err := shares[0][0].MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	held := Item{
		Metadata: &recordv1.SlotMetadata{Kind: recordv1.SlotMetadata_KIND_HELD_SHARE, Title: "share of Ada"},
		Secret: &recordv1.Secret{Kind: &recordv1.Secret_HeldShare{HeldShare: &recordv1.HeldShare{
			Owner: "Ada", Share: share, Envelope: []byte("envelope"),
		}}},
	}
	card := newItem(kinds[2])
	card.Metadata.Title, card.Metadata.UserName = "card", "me"
	card.Metadata.Uris = []*recordv1.Uri{{Uri: "https://bank.example"}}
	ssh := newItem(kinds[4])
	ssh.Metadata.Title, ssh.Secret.GetSshKey().PrivateKey = "key", canary

	var file bytes.Buffer
	if err := WriteBitwarden(&file, []Item{held, card, ssh}); err != nil {
		t.Fatal(err)
	}
	read, err := ReadBitwarden(&file)
	if err != nil {
		t.Fatal(err)
	}
	fields := func(item Item) map[string]string {
		m := make(map[string]string)
		for _, f := range item.Secret.Fields {
			m[f.Name] = f.Value
		}
		return m
	}
	want := []struct {
		kind   recordv1.SlotMetadata_Kind
		title  string
		fields map[string]string
	}{
		{recordv1.SlotMetadata_KIND_NOTE, "share of Ada", map[string]string{
			"held for": "Ada", "words": shares[0][0].Mnemonic(),
			"share (hexadecimal)": hex.EncodeToString(share), "envelope (hexadecimal)": hex.EncodeToString([]byte("envelope")),
		}},
		{recordv1.SlotMetadata_KIND_CARD, "card", map[string]string{"user name": "me", "address": "https://bank.example"}},
		{recordv1.SlotMetadata_KIND_NOTE, "key", map[string]string{"private key": canary}},
	}
	for i, w := range want {
		if m := read[i].Metadata; m.Kind != w.kind || m.Title != w.title {
			t.Errorf("item %d is %v %q, want %v %q", i+1, m.Kind, m.Title, w.kind, w.title)
		}
		if got := fields(read[i]); !maps.Equal(got, w.fields) {
			t.Errorf("item %d has fields %v, want %v", i+1, got, w.fields)
		}
	}
	if card.Metadata.UserName != "me" || held.Secret.GetHeldShare() == nil {
		t.Error("WriteBitwarden changed an item that it was given")
	}
}

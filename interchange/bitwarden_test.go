package interchange

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// reporter is what testing.T and rapid.T have in common.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// decode reads JSON without this package's reader.
func decode(t reporter, text []byte) map[string]any {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var v map[string]any
	if err := decoder.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

func equalItems(t reporter, got, want []Item) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d items, want %d", len(got), len(want))
	}
	for i := range want {
		if !proto.Equal(got[i].Metadata, want[i].Metadata) {
			t.Errorf("item %d: metadata %v, want %v", i, got[i].Metadata, want[i].Metadata)
		}
		if !proto.Equal(got[i].Secret, want[i].Secret) {
			t.Errorf("item %d: secret %v, want %v", i, got[i].Secret, want[i].Secret)
		}
	}
}

// roundTrip checks that an accepted file's items are written as they were, and
// returns them.
func roundTrip(t reporter, file []byte) []Item {
	t.Helper()
	items, err := ReadBitwarden(bytes.NewReader(file))
	if err != nil {
		t.Fatalf("ReadBitwarden: %v", err)
	}
	var written bytes.Buffer
	if err := WriteBitwarden(&written, items); err != nil {
		t.Fatalf("WriteBitwarden: %v", err)
	}
	before, after := decode(t, file), decode(t, written.Bytes())
	if !reflect.DeepEqual(before["items"], after["items"]) {
		t.Fatalf("items were\n%s\nand are written as\n%s", file, written.Bytes())
	}
	checkGroups(t, before, after, "folders")
	checkGroups(t, before, after, "collections")
	again, err := ReadBitwarden(&written)
	if err != nil {
		t.Fatalf("ReadBitwarden of what was written: %v", err)
	}
	equalItems(t, again, items)
	return items
}

// checkGroups checks that the file has every folder or collection that is in
// use, as it was, and no other.
func checkGroups(t reporter, before, after map[string]any, list string) {
	t.Helper()
	used := map[any]bool{}
	items, _ := before["items"].([]any)
	for _, item := range items {
		members := item.(map[string]any)
		if list == "folders" {
			used[members["folderId"]] = true
			continue
		}
		ids, _ := members["collectionIds"].([]any)
		for _, id := range ids {
			used[id] = true
		}
	}
	byID := func(file map[string]any) map[any]any {
		all := map[any]any{}
		groups, _ := file[list].([]any)
		for _, group := range groups {
			if id := group.(map[string]any)["id"]; used[id] {
				all[id] = group
			}
		}
		return all
	}
	groups, _ := after[list].([]any)
	if want, got := byID(before), byID(after); !reflect.DeepEqual(got, want) || len(groups) != len(want) {
		t.Fatalf("%s in use were\n%v\nand are written as\n%v", list, want, after[list])
	}
}

func TestSample(t *testing.T) {
	file, err := os.ReadFile("testdata/bitwarden_export.json")
	if err != nil {
		t.Fatal(err)
	}
	items := roundTrip(t, file)
	if len(items) != 23 {
		t.Fatalf("%d items, want 23", len(items))
	}
	m, s := items[0].Metadata, items[0].Secret
	want := &recordv1.SlotMetadata{
		Kind: recordv1.SlotMetadata_KIND_LOGIN, Title: "github.com", UserName: "owner+0@mail.example",
		Uris:   []*recordv1.Uri{{Uri: "https://github.com/login"}, {Uri: `^https://.*\.github\.com/`, Match: "3"}},
		Folder: "恢复代码", Created: 1704528000000, Revised: 1778237280000,
		SourceId: "8dabf68e-2eb7-4728-afea-875e75365e14",
	}
	if !proto.Equal(m, want) {
		t.Errorf("metadata %v, want %v", m, want)
	}
	if s.GetLogin().GetPassword() != "*F{YQ5.K-&NVt4-Z]9[E|;M?E*D]5Khn" || s.GetLogin().GetTotp() != "JBSWY3DPEHPK3PXP" {
		t.Errorf("secret %v", s)
	}
	kinds := map[recordv1.SlotMetadata_Kind]int{}
	for _, item := range items {
		kinds[item.Metadata.Kind]++
	}
	if kinds[recordv1.SlotMetadata_KIND_LOGIN] != 17 || kinds[recordv1.SlotMetadata_KIND_NOTE] != 3 ||
		kinds[recordv1.SlotMetadata_KIND_CARD] != 1 || kinds[recordv1.SlotMetadata_KIND_IDENTITY] != 1 ||
		kinds[recordv1.SlotMetadata_KIND_SSH_KEY] != 1 {
		t.Errorf("kinds %v", kinds)
	}
}

// shapes are files with what the sample does not have.
var shapes = map[string]string{
	"no items":                `{"items":[]}`,
	"nothing but a type":      `{"items":[{"type":1}]}`,
	"everything null":         `{"encrypted":false,"folders":null,"items":[{"type":1,"id":null,"name":null,"notes":null,"favorite":null,"folderId":null,"organizationId":null,"collectionIds":null,"reprompt":null,"creationDate":null,"revisionDate":null,"deletedDate":null,"passwordHistory":null,"fields":null,"login":null}]}`,
	"login of nulls":          `{"items":[{"type":1,"login":{"uris":null,"username":null,"password":null,"totp":null,"fido2Credentials":null}}]}`,
	"login of empty":          `{"items":[{"type":1,"id":"","name":"","notes":"","folderId":"","collectionIds":[],"passwordHistory":[],"fields":[],"login":{"uris":[],"username":"","password":"","totp":"","fido2Credentials":[]}}]}`,
	"empty login":             `{"items":[{"type":1,"login":{}}]}`,
	"unknown members":         `{"items":[{"type":2,"key":"abc","archivedDate":null,"attachments":[{"size":12345678901234567890.50}],"secureNote":{"type":1,"new":{"a":[]}},"login":{"password":"x"}}]}`,
	"numbers as written":      `{"items":[{"type":1,"x":[1.0,1,1e400,-0,0.10,123456789012345678901234567890],"reprompt":7}]}`,
	"URIs":                    `{"items":[{"type":1,"login":{"uris":[{"uri":null,"match":0},{"match":5,"uri":"a"},{"uri":""},{},{"uri":"b","uriChecksum":"c","match":null}]}}]}`,
	"fields":                  `{"items":[{"type":1,"fields":[{"type":0},{"type":1,"name":"","value":"","linkedId":0},{"type":2,"name":null,"value":null,"linkedId":null},{"type":3,"name":"n","value":"v","linkedId":18446744073709551615,"x":1}]}]}`,
	"password history":        `{"items":[{"type":4,"passwordHistory":[{"password":"a","lastUsedDate":"yesterday"},{"password":"","lastUsedDate":null},{},{"password":"b","x":"y"}]}]}`,
	"dates":                   `{"items":[{"type":1,"creationDate":"2020-06-11T17:01:21.8412345Z","revisionDate":"2020-06-11T19:01:21+02:00","deletedDate":"2020-06-11T17:01:21Z"},{"type":1,"creationDate":"1970-01-01T00:00:00.000Z","revisionDate":"1969-12-31T23:59:59.999Z"}]}`,
	"folders":                 `{"folders":[{"id":"1","name":"A","x":1},{"id":"2","name":"A"},{"id":"3","name":""},{"id":"4","name":"unused"}],"items":[{"type":1,"folderId":"1"},{"type":1,"folderId":"2"},{"type":1,"folderId":"3"},{"type":1,"folderId":"nowhere"},{"type":1,"folderId":"1"}]}`,
	"folder with derived id":  fmt.Sprintf(`{"folders":[{"id":%q,"name":"A"}],"items":[{"type":1,"folderId":%[1]q}]}`, folderID("A", 0)),
	"folder with stolen id":   fmt.Sprintf(`{"folders":[{"id":%q,"name":"B"}],"items":[{"type":1,"folderId":%[1]q}]}`, folderID("A", 0)),
	"organization":            `{"encrypted":false,"collections":[{"id":"c","organizationId":"o","name":"Shared","externalId":null},{"id":"d","name":"unused"}],"items":[{"type":1,"organizationId":"o","collectionIds":["c","elsewhere"]}]}`,
	"credentials":             `{"items":[{"type":1,"login":{"fido2Credentials":[{},{"counter":0,"discoverable":true,"x":null}]}}]}`,
	"SSH key":                 `{"items":[{"type":5,"sshKey":{"privateKey":"a","publicKey":"b","keyFingerprint":"c","d":"e"}}]}`,
	"names that JSON escapes": `{"items":[{"type":2,"name":"\u0000\u001f\"\\\/<>&\u2028\ud83d\udd11\\ud800","notes":"\r\n\t","":{"":""},"<\u0000":1}]}`,
}

func TestShapes(t *testing.T) {
	for name, file := range shapes {
		t.Run(name, func(t *testing.T) { roundTrip(t, []byte(file)) })
	}
}

// canary stands for every value of the bad files; no error may show it.
const canary = "S3CR3T"

func TestBadFiles(t *testing.T) {
	item := func(members string) string {
		return `{"items":[{"type":2,"name":"first"},{"type":1,"name":"mine","notes":"` + canary + `",` + members + `}]}`
	}
	login := func(members string) string { return item(`"login":{"username":"` + canary + `",` + members + `}`) }
	deep := strings.Repeat("[", 100) + strings.Repeat("]", 100)
	tests := []struct {
		name, file string
		want       Error // Hint is checked to be there
	}{
		{"nothing", " \n", Error{Problem: "is empty"}},
		{"not JSON", "name,password\nx," + canary, Error{Problem: "is not JSON (line 1)"}},
		{"zip", "PK\x03\x04", Error{Problem: "is a zip archive"}},
		{"byte order mark", "\xef\xbb\xbf{}", Error{Problem: "starts with a byte order mark"}},
		{"UTF-16", "\xff\xfe{\x00}\x00", Error{Problem: "is UTF-16 text"}},
		{"not an object", `["` + canary + `"]`, Error{Problem: "is not an object"}},
		{"cut off", item(`"x":1`)[:60], Error{Row: 2, Problem: "ends too early (line 1)"}},
		{"cut off in a value", "{\n\"items\": [{\"name\":\"" + canary, Error{Row: 1, Field: "name", Problem: "ends too early (line 2)"}},
		{"comma at the end", "{\n\"items\":[{\"type\":1,},]}", Error{Row: 1, Problem: "is not JSON (line 2)"}},
		{"bad escape", item(`"x":"` + canary + `\q"`), Error{Row: 2, Field: "…", Problem: "is not JSON (line 1)"}},
		{"trailing garbage", item(`"x":1`) + "\n" + canary, Error{Problem: "goes on after its end (line 2)"}},
		{"two documents", `{"items":[]}{"items":[]}`, Error{Problem: "goes on after its end (line 1)"}},
		{"invalid UTF-8", login(`"password":"` + canary + "\xff\""), Error{Row: 2, Item: "mine", Field: "login.password", Problem: "is not UTF-8 text (line 1)"}},
		{"invalid UTF-8 in a name", item(`"` + canary + "\xc0\":1"), Error{Row: 2, Item: "mine", Problem: "is not UTF-8 text (line 1)"}},
		{"high surrogate", login(`"password":"` + canary + `\ud83dx"`), Error{Row: 2, Item: "mine", Field: "login.password", Problem: "has half of a surrogate pair, which is no character (line 1)"}},
		{"low surrogate", login(`"password":"\udd11` + canary + `"`), Error{Row: 2, Item: "mine", Field: "login.password", Problem: "has half of a surrogate pair, which is no character (line 1)"}},
		{"member twice", login(`"password":"` + canary + `","password":"x"`), Error{Row: 2, Item: "mine", Field: "login.password", Problem: "stands there twice (line 1)"}},
		{"member twice, escaped", item(`"` + canary + `":1,"\u00533CR3T":2`), Error{Row: 2, Item: "mine", Field: "…", Problem: "stands there twice (line 1)"}},
		{"member of the file twice", `{"items":[],"items":[]}`, Error{Field: "items", Problem: "stands there twice (line 1)"}},
		{"too deep", item(`"` + canary + `":` + deep), Error{Row: 2, Field: "…" + strings.Repeat("[0]", 7) + ".…", Problem: "has too many levels of brackets (line 1)"}},

		{"password-protected", `{"encrypted":true,"passwordProtected":true,"salt":"","data":"` + canary + `"}`, Error{Problem: "is an export protected by a password"}},
		{"account-restricted", `{"encrypted":true,"encKeyValidation_DO_NOT_EDIT":"2.x","folders":[],"items":[]}`, Error{Problem: "is an encrypted export"}},
		{"encrypted is text", `{"encrypted":"` + canary + `","items":[]}`, Error{Field: "encrypted", Problem: "is neither true nor false"}},
		{"no items", `{"encrypted":false,"folders":[]}`, Error{Field: "items", Problem: "is missing or not a list"}},
		{"items is an object", `{"items":{}}`, Error{Field: "items", Problem: "is missing or not a list"}},
		{"unknown member of the file", `{"items":[],"` + canary + `":1}`, Error{Problem: "has a member beside encrypted, folders, collections and items"}},

		{"folders is text", `{"folders":"` + canary + `","items":[]}`, Error{Field: "folders", Problem: "is not a list"}},
		{"folder is null", `{"folders":[null],"items":[]}`, Error{Field: "folders[0]", Problem: "is not an object"}},
		{"folder without id", `{"folders":[{"name":"` + canary + `"}],"items":[]}`, Error{Field: "folders[0].id", Problem: "is not text"}},
		{"folder with empty id", `{"folders":[{"id":"","name":"x"}],"items":[]}`, Error{Field: "folders[0].id", Problem: "is empty"}},
		{"folder without name", `{"folders":[{"id":"` + canary + `"}],"items":[]}`, Error{Field: "folders[0].name", Problem: "is not text"}},
		{"two folders of one id", `{"folders":[{"id":"1","name":"x"},{"id":"1","name":"y"}],"items":[]}`, Error{Field: "folders[1].id", Problem: "is the id of an earlier one as well"}},
		{"collection without id", `{"collections":[{"name":"x"}],"items":[]}`, Error{Field: "collections[0].id", Problem: "is not text"}},

		{"item is text", `{"items":["` + canary + `"]}`, Error{Row: 1, Problem: "is not an object"}},
		{"item without type", `{"items":[{"name":"mine","notes":"` + canary + `"}]}`, Error{Row: 1, Item: "mine", Field: "type", Problem: "is not a whole number"}},
		{"type is text", `{"items":[{"name":"mine","type":"` + canary + `"}]}`, Error{Row: 1, Item: "mine", Field: "type", Problem: "is not a whole number"}},
		{"type is 1.0", `{"items":[{"name":"mine","type":1.0}]}`, Error{Row: 1, Item: "mine", Field: "type", Problem: "is not a whole number"}},
		{"type is unknown", `{"items":[{"name":"mine","type":6}]}`, Error{Row: 1, Item: "mine", Field: "type", Problem: "is a type of item that this program does not know"}},
		{"name is a number", `{"items":[{"type":1,"name":5}]}`, Error{Row: 1, Field: "name", Problem: "is not text"}},
		{"id is a number", item(`"id":5`), Error{Row: 2, Item: "mine", Field: "id", Problem: "is not text"}},
		{"favorite is text", item(`"favorite":"` + canary + `"`), Error{Row: 2, Item: "mine", Field: "favorite", Problem: "is neither true nor false"}},
		{"folderId is a number", item(`"folderId":1`), Error{Row: 2, Item: "mine", Field: "folderId", Problem: "is not text"}},
		{"organizationId is a list", item(`"organizationId":[]`), Error{Row: 2, Item: "mine", Field: "organizationId", Problem: "is not text"}},
		{"collectionIds is text", item(`"collectionIds":"` + canary + `"`), Error{Row: 2, Item: "mine", Field: "collectionIds", Problem: "is not a list"}},
		{"collectionIds of numbers", item(`"collectionIds":["a",1]`), Error{Row: 2, Item: "mine", Field: "collectionIds[1]", Problem: "is not text"}},
		{"reprompt is true", item(`"reprompt":true`), Error{Row: 2, Item: "mine", Field: "reprompt", Problem: "is not a whole number"}},
		{"date is a number", item(`"creationDate":1`), Error{Row: 2, Item: "mine", Field: "creationDate", Problem: "is not a date"}},
		{"date is none", item(`"revisionDate":"` + canary + `"`), Error{Row: 2, Item: "mine", Field: "revisionDate", Problem: "is not a date like 2006-01-02T15:04:05.000Z"}},
		{"date before the year 0", item(`"revisionDate":"0000-01-01T00:00:00+23:00"`), Error{Row: 2, Item: "mine", Field: "revisionDate", Problem: "is not within the years 0 to 9999"}},
		{"deleted at none", item(`"deletedDate":"` + canary + `"`), Error{Row: 2, Item: "mine", Field: "deletedDate", Problem: "is not a date like 2006-01-02T15:04:05.000Z"}},
		{"history is an object", item(`"passwordHistory":{}`), Error{Row: 2, Item: "mine", Field: "passwordHistory", Problem: "is not a list"}},
		{"past password is a number", item(`"passwordHistory":[{"password":1}]`), Error{Row: 2, Item: "mine", Field: "passwordHistory[0].password", Problem: "is not text"}},
		{"field is null", item(`"fields":[null]`), Error{Row: 2, Item: "mine", Field: "fields[0]", Problem: "is not an object"}},
		{"field without type", item(`"fields":[{"value":"` + canary + `"}]`), Error{Row: 2, Item: "mine", Field: "fields[0].type", Problem: "is missing"}},
		{"field of unknown type", item(`"fields":[{"type":0},{"type":4}]`), Error{Row: 2, Item: "mine", Field: "fields[1].type", Problem: "is not 0 (text), 1 (hidden), 2 (boolean) or 3 (linked)"}},
		{"field value is true", item(`"fields":[{"type":2,"value":true}]`), Error{Row: 2, Item: "mine", Field: "fields[0].value", Problem: "is not text"}},
		{"linked to a negative number", item(`"fields":[{"type":3,"linkedId":-1}]`), Error{Row: 2, Item: "mine", Field: "fields[0].linkedId", Problem: "is not a whole number"}},
		{"linked beyond 64 bits", item(`"fields":[{"type":3,"linkedId":18446744073709551616}]`), Error{Row: 2, Item: "mine", Field: "fields[0].linkedId", Problem: "is not a whole number"}},
		{"login is text", item(`"login":"` + canary + `"`), Error{Row: 2, Item: "mine", Field: "login", Problem: "is not an object"}},
		{"password is a number", login(`"password":5`), Error{Row: 2, Item: "mine", Field: "login.password", Problem: "is not text"}},
		{"URI is text", login(`"uris":["` + canary + `"]`), Error{Row: 2, Item: "mine", Field: "login.uris[0]", Problem: "is not an object"}},
		{"match is text", login(`"uris":[{"uri":"a"},{"match":"` + canary + `"}]`), Error{Row: 2, Item: "mine", Field: "login.uris[1].match", Problem: "is not a whole number"}},
		{"match is 1e0", login(`"uris":[{"match":1e0}]`), Error{Row: 2, Item: "mine", Field: "login.uris[0].match", Problem: "is not a whole number"}},
		{"credentials is text", login(`"fido2Credentials":"` + canary + `"`), Error{Row: 2, Item: "mine", Field: "login.fido2Credentials", Problem: "is not a list"}},
		{"credential is text", login(`"fido2Credentials":[{},"` + canary + `"]`), Error{Row: 2, Item: "mine", Field: "login.fido2Credentials[1]", Problem: "is not an object"}},
		{"SSH key without key", `{"items":[{"type":5,"name":"mine"}]}`, Error{Row: 1, Item: "mine", Field: "sshKey", Problem: "is missing"}},
		{"SSH key is null", `{"items":[{"type":5,"name":"mine","sshKey":null}]}`, Error{Row: 1, Item: "mine", Field: "sshKey", Problem: "is null"}},
		{"SSH key without parts", `{"items":[{"type":5,"name":"mine","sshKey":{"privateKey":"` + canary + `","keyFingerprint":"x"}}]}`, Error{Row: 1, Item: "mine", Field: "sshKey.publicKey", Problem: "is missing"}},
		{"SSH key with empty parts", `{"items":[{"type":5,"name":"mine","sshKey":{"privateKey":"` + canary + `","publicKey":null}}]}`, Error{Row: 1, Item: "mine", Field: "sshKey.publicKey", Problem: "is empty, which Bitwarden does not take"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			items, err := ReadBitwarden(strings.NewReader(test.file))
			checkError(t, err, test.want)
			if items != nil {
				t.Errorf("%d items beside the error", len(items))
			}
		})
	}
}

func checkError(t *testing.T, err error, want Error) {
	t.Helper()
	got, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("error %v, want an *Error", err)
	}
	want.Hint = got.Hint
	if *got != want || got.Hint == "" {
		t.Errorf("error %+v,\nwant  %+v", *got, want)
	}
	if strings.Contains(err.Error(), canary) {
		t.Errorf("the error shows a value: %v", err)
	}
}

func TestSizeLimit(t *testing.T) {
	spaces := iotest.DataErrReader(&endless{})
	items, err := ReadBitwarden(spaces)
	checkError(t, err, Error{Problem: "is larger than 64 MiB"})
	if items != nil {
		t.Error("items beside the error")
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestFailingReaderAndWriter(t *testing.T) {
	broken := errors.New("broken")
	if items, err := ReadBitwarden(iotest.ErrReader(broken)); !errors.Is(err, broken) || items != nil {
		t.Errorf("ReadBitwarden: %v", err)
	}
	_, pipe := io.Pipe()
	_ = pipe.CloseWithError(broken)
	if err := WriteBitwarden(pipe, nil); err == nil {
		t.Error("WriteBitwarden: no error")
	}
	if err := WriteText(pipe, nil); err == nil {
		t.Error("WriteText: no error")
	}
}

func TestErrorText(t *testing.T) {
	tests := []struct {
		err  Error
		want string
	}{
		{Error{Problem: "is empty", Hint: "Do this"}, "the file is empty. Do this"},
		{Error{Row: 2, Field: "type", Problem: "is not text"}, "item 2, type is not text"},
		{Error{Row: 2, Item: "恢复\n\u202e", Problem: "is not an object", Hint: "Do this"}, `item 2 ("恢复\n\u202e") is not an object. Do this`},
		{Error{Row: 1, Item: strings.Repeat("ž", 61), Problem: "x"}, `item 1 ("` + strings.Repeat("ž", 60) + `…") x`},
	}
	for _, test := range tests {
		if got := test.err.Error(); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

func TestItemSaysSecret(t *testing.T) {
	item := Item{Metadata: &recordv1.SlotMetadata{Title: canary}, Secret: &recordv1.Secret{Notes: canary}}
	marshalled, err := json.Marshal([]Item{item})
	if err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprintf("%v %+v %#v %s %q %x %v %v", item, item, item, item, item, item, []Item{item}, item.LogValue()) +
		item.String() + item.GoString() + string(marshalled)
	if strings.Contains(shown, canary) || strings.Count(shown, "[secret]") != 11 {
		t.Errorf("%s", shown)
	}
}

package interchange

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// MaxSize is the largest file that is read, in bytes.
const MaxSize = 64 << 20

// ReadBitwarden reads an unencrypted .json export of a person's or an
// organization's vault: JSON in UTF-8 of at most [MaxSize] bytes. It returns
// every item of the file, in its order, or nil and the first thing that is
// wrong as an [*Error]. An item in Bitwarden's trash is read like any other; its
// deletedDate is in Secret.Rest.
func ReadBitwarden(r io.Reader) ([]Item, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading the export: %w", err)
	}
	if err := checkFile(data); err != nil {
		return nil, err
	}
	root, err := parse(data, depthFile)
	if err != nil {
		return nil, locate(err, root)
	}
	file, ok := root.(map[string]any)
	if !ok {
		return nil, &Error{Problem: "is not an object", Hint: hintFormat}
	}
	if err := checkEncrypted(file); err != nil {
		return nil, err
	}
	return readItems(file)
}

const hintFormat = "In Bitwarden choose Export vault with the file format .json, not encrypted; nothing was imported"

// checkFile tells apart the files that are no JSON text at all.
func checkFile(data []byte) error {
	fail := func(problem, hint string) error { return &Error{Problem: problem, Hint: hint} }
	switch {
	case len(data) > MaxSize:
		return fail(fmt.Sprintf("is larger than %d MiB", MaxSize>>20), "Export fewer items at once; nothing was imported")
	case len(bytes.TrimSpace(data)) == 0:
		return fail("is empty", hintFormat)
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		return fail("starts with a byte order mark", "Save it as UTF-8 without one; nothing was imported")
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		return fail("is UTF-16 text", "Save it as UTF-8; nothing was imported")
	case bytes.HasPrefix(data, []byte("PK\x03\x04")):
		return fail("is a zip archive", hintFormat)
	}
	return nil
}

func checkEncrypted(file map[string]any) error {
	switch file["encrypted"] {
	case nil, false:
		return nil
	case true:
		problem := "is an encrypted export"
		if file["passwordProtected"] == true {
			problem = "is an export protected by a password"
		}
		return &Error{Problem: problem, Hint: hintFormat}
	}
	return wrong("is neither true nor false").in("encrypted").of(0, "", hintImport)
}

// locate turns why a file is no JSON into an Error. The root is what could be
// read of it, nil if nothing.
func locate(err error, root any) error {
	syntax, ok := errors.AsType[*syntaxError](err)
	if !ok {
		return err
	}
	path := syntax.path
	row, item := 0, ""
	if len(path) >= 2 && path[0] == "items" && strings.HasPrefix(path[1], "[") {
		i, _ := strconv.Atoi(strings.Trim(path[1], "[]"))
		row, path = i+1, path[2:]
		if file, ok := root.(map[string]any); ok {
			items, _ := file["items"].([]any)
			item = nameOf(items[i])
		}
	}
	f := wrong(fmt.Sprintf("%s (line %d)", syntax.problem, syntax.line))
	const most = 8 // Bitwarden has no longer paths
	if len(path) > most {
		path = append(slices.Clip(path[:most]), "…")
	}
	for i := len(path) - 1; i >= 0; i-- {
		name := path[i]
		// In a damaged file a value may stand where a name should.
		if !strings.HasPrefix(name, "[") && !knownNames()[name] {
			name = "…"
		}
		f = f.in(name)
	}
	return f.of(row, item, hintImport)
}

// knownNames are the member names that Bitwarden uses.
var knownNames = sync.OnceValue(func() map[string]bool {
	known := map[string]bool{"encrypted": true, "folders": true, "collections": true, "items": true}
	var add func(n node)
	add = func(n node) {
		switch n := n.(type) {
		case owner:
			add(n.node)
		case list:
			n.grow()
			add(n.at(0))
		case object:
			for _, m := range n {
				known[m.name] = true
				add(m.node)
			}
		}
	}
	for _, k := range kinds {
		add(itemNode(newItem(k), k, newGroups(), newGroups()))
	}
	return known
})

func nameOf(item any) string {
	members, _ := item.(map[string]any)
	name, _ := members["name"].(string)
	return name
}

func readItems(file map[string]any) ([]Item, error) {
	for _, name := range names(file) {
		switch name {
		case "encrypted", "folders", "collections", "items":
		default:
			return nil, &Error{
				Problem: "has a member beside encrypted, folders, collections and items",
				Hint:    "Remove it if you do not need it, or ask for a newer program; nothing was imported",
			}
		}
	}
	folders, f := readGroups(file["folders"])
	if f != nil {
		return nil, f.in("folders").of(0, "", hintImport)
	}
	described, f := readGroups(file["collections"])
	if f != nil {
		return nil, f.in("collections").of(0, "", hintImport)
	}
	elements, ok := file["items"].([]any)
	if !ok {
		return nil, &Error{Field: "items", Problem: "is missing or not a list", Hint: hintFormat}
	}
	items := make([]Item, len(elements))
	for i, element := range elements {
		item, f := readItem(element, folders, described)
		if f != nil {
			return nil, f.of(i+1, nameOf(element), hintImport)
		}
		items[i] = item
	}
	return items, nil
}

func readItem(v any, folders, described *groups) (Item, *fault) {
	members, ok := v.(map[string]any)
	if !ok {
		return Item{}, wrong("is not an object")
	}
	if f := isWhole(members["type"]); f != nil {
		return Item{}, f.in("type")
	}
	for _, k := range kinds {
		if members["type"] == k.number {
			item := newItem(k)
			_, f := itemNode(item, k, folders, described).read(v)
			return item, f
		}
	}
	return Item{}, (&fault{
		problem: "is a type of item that this program does not know",
		hint: "It knows 1 (login), 2 (secure note), 3 (card), 4 (identity) and 5 (SSH key). " +
			"Change the item in Bitwarden, or remove it from the file; nothing was imported",
	}).in("type")
}

// WriteBitwarden writes an unencrypted .json export that Bitwarden imports. The
// file is as secret as everything in it. [ReadBitwarden] gives the same items
// again.
//
// What Bitwarden has no place for is written in another form, which reads back as
// that form: a held share, and an SSH key without one of its parts, as a secure
// note; a user name and addresses outside of a login as custom fields.
//
// Items that are not well-formed are an [*Error], and then nothing is written.
func WriteBitwarden(w io.Writer, items []Item) error {
	fitting := make([]Item, len(items))
	for i, item := range items {
		fitting[i] = fit(item)
	}
	items = fitting
	folders, described := newGroups(), newGroups()
	all := make([]kind, len(items))
	for i, item := range items {
		k, f := kindOf(item)
		if f == nil {
			all[i], f = k, collectItem(item, folders, described)
		}
		if f != nil {
			return f.of(i+1, item.Metadata.GetTitle(), hintExport)
		}
	}
	elements := make([]any, len(items))
	for i, item := range items {
		v, f := itemNode(item, all[i], folders, described).write(nil)
		if f != nil {
			return f.of(i+1, item.Metadata.GetTitle(), hintExport)
		}
		elements[i] = v
	}
	file := map[string]any{"encrypted": false, "items": elements}
	// Bitwarden takes a file with collections for an organization's, which has
	// no folders.
	if len(described.order) > 0 {
		file["collections"] = described.order
	}
	if len(folders.order) > 0 || len(described.order) == 0 {
		file["folders"] = folders.order
	}
	if err := encode(w, file, "  "); err != nil {
		return fmt.Errorf("writing the export: %w", err)
	}
	return nil
}

func collectItem(item Item, folders, described *groups) *fault {
	rest, f := parseRest(item.Secret.Rest)
	if f != nil {
		return f
	}
	return collect(rest, folders, described)
}

// kindOf returns the kind of an item that fits.
func kindOf(item Item) (kind, *fault) {
	m, s := item.Metadata, item.Secret
	if m == nil || s == nil {
		return kind{}, wrong("has no metadata or no secret")
	}
	if slices.Contains(m.Uris, nil) || slices.Contains(s.Fields, nil) || slices.Contains(s.PasswordHistory, nil) {
		return kind{}, wrong("has an element that is nil")
	}
	at := slices.IndexFunc(kinds, func(k kind) bool { return k.kind == m.Kind })
	if at < 0 {
		return kind{}, wrong("is of no known kind")
	}
	k := kinds[at]
	if which := secretKind(s); which == nil || which != secretKind(newItem(k).Secret) {
		return kind{}, wrong("has metadata and a secret of different kinds")
	}
	return k, nil
}

// secretKind returns the field of the oneof that is set, nil if none is.
func secretKind(s *recordv1.Secret) protoreflect.FieldDescriptor {
	message := s.ProtoReflect()
	field := message.WhichOneof(message.Descriptor().Oneofs().ByName("kind"))
	if field == nil || !message.Get(field).Message().IsValid() {
		return nil
	}
	return field
}

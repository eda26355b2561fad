package interchange

import (
	"encoding/hex"

	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/slip39"
)

// fit returns the item in a form that Bitwarden has a place for, itself where it
// has one already. Nothing is left out: an export is what somebody relies on who
// leaves, or who has lost everything else.
//
//   - A share held for somebody else becomes a secure note with its words.
//   - A user name and addresses outside of a login become custom fields.
//   - An SSH key without one of its parts becomes a secure note with the others.
func fit(item Item) Item {
	if item.Metadata == nil || item.Secret == nil {
		return item
	}
	switch s := item.Secret; {
	case s.GetHeldShare() != nil:
		item = noteOf(item, heldFields(s.GetHeldShare())...)
	case s.GetSshKey() != nil && !complete(s.GetSshKey()):
		item = noteOf(item, keyFields(s.GetSshKey())...)
	}
	m := item.Metadata
	if m.Kind == recordv1.SlotMetadata_KIND_LOGIN || m.UserName == "" && len(m.Uris) == 0 {
		return item
	}
	return fieldsOf(item)
}

func complete(k *recordv1.SshKey) bool {
	return k.PrivateKey != "" && k.PublicKey != "" && k.Fingerprint != ""
}

// noteOf returns a secure note with the item's metadata, notes and fields, and
// more fields.
func noteOf(item Item, fields ...*recordv1.Field) Item {
	m, s := clone(item)
	m.Kind = recordv1.SlotMetadata_KIND_NOTE
	s.Kind = &recordv1.Secret_Note{Note: &recordv1.Note{}}
	for _, f := range fields {
		if f.Value != "" {
			s.Fields = append(s.Fields, f)
		}
	}
	return Item{Metadata: m, Secret: s}
}

// fieldsOf moves the user name and the addresses of an item to custom fields.
func fieldsOf(item Item) Item {
	m, s := clone(item)
	if m.UserName != "" {
		s.Fields = append(s.Fields, textField("user name", m.UserName))
	}
	for _, uri := range m.Uris {
		s.Fields = append(s.Fields, textField("address", uri.GetUri()))
	}
	m.UserName, m.Uris = "", nil
	return Item{Metadata: m, Secret: s}
}

func heldFields(held *recordv1.HeldShare) []*recordv1.Field {
	words := ""
	if share, err := slip39.ParseBinary(held.Share); err == nil {
		words = share.Mnemonic()
		share.Erase()
	}
	return []*recordv1.Field{
		textField("held for", held.Owner),
		hiddenField("words", words),
		hiddenField("share (hexadecimal)", hex.EncodeToString(held.Share)),
		hiddenField("envelope (hexadecimal)", hex.EncodeToString(held.Envelope)),
	}
}

func keyFields(key *recordv1.SshKey) []*recordv1.Field {
	return []*recordv1.Field{
		hiddenField("private key", key.PrivateKey),
		textField("public key", key.PublicKey),
		textField("fingerprint", key.Fingerprint),
	}
}

func textField(name, value string) *recordv1.Field {
	return &recordv1.Field{Type: recordv1.Field_TYPE_TEXT, Name: name, Value: value}
}

func hiddenField(name, value string) *recordv1.Field {
	return &recordv1.Field{Type: recordv1.Field_TYPE_HIDDEN, Name: name, Value: value}
}

func clone(item Item) (*recordv1.SlotMetadata, *recordv1.Secret) {
	return proto.CloneOf(item.Metadata), proto.CloneOf(item.Secret)
}

package adversary

import (
	"bytes"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// scope is what stands around a string and says what it may be bound to. What is
// empty is not known: then everything that is known takes its place.
type scope struct {
	account string
	epoch   uint64
	slot    string
	version uint64
	slotKey slotKey
	path    string // of the file in a home
	stored  string // context of a share in the server's store
	object  string // of that share
}

// specific says whether more is known than that a string exists.
func (s scope) specific() bool { return s != scope{} }

// rowScope is what a row's columns say. Rows of shares are encrypted under the
// server's key in a context of their own.
func (k *knowledge) rowScope(row map[string]any) scope {
	for _, column := range []string{"account", "owner", "contact", "sender", "recipient"} {
		if id, ok := row[column].([]byte); ok && len(id) == 32 {
			k.values.account(string(id))
		}
	}
	account, _ := row["account"].([]byte)
	slot, _ := row["slot"].([]byte)
	key, named := row["key"].(string)
	if len(account) != 32 || !named {
		return scope{}
	}
	number := func(column string) uint64 {
		n, _ := row[column].(int64)
		return uint64(n)
	}
	s := scope{account: string(account), epoch: number("epoch"), slot: string(slot), version: number("version")}
	k.values.number(k.values.account(s.account).epochs, s.epoch)
	padded := [16]byte{}
	copy(padded[:], slot)
	s.object = objectName(s.account, s.epoch, slot, s.version)
	if member := number("member"); member != 0 {
		s.object = objectName(s.account, s.epoch, []byte(memberName(member)), 0)
	}
	s.stored = string(signing.NewContext("stored-share").Bytes(account).Uint(number("kind")).Uint(s.epoch).
		Bytes(padded[:]).Uint(s.version).Uint(number("member")).Text(key).Encode())
	return s
}

// recognize reads a message of a type that says what the ciphertexts in it are
// bound to, and takes those with it.
func (k *knowledge) recognize(b []byte) {
	if entry, err := ledger.ParseEntry(b); err == nil {
		k.walkEntry(entry)
		return
	}
	if r, err := ledger.ParseRecoveryRequest(b); err == nil {
		id, account := r.ID(), r.Account()
		k.values.account(string(account[:]))
		add(&k.values, k.values.requests, request{string(account[:]), string(id[:]), string(r.SealKey().Bytes())})
		return
	}
	if a, err := ledger.ParseActivity(b); err == nil {
		id := a.Account()
		k.walkRequest(k.values.account(string(id[:])), a.Request())
		return
	}
	for _, m := range []proto.Message{&recordv1.SealedServerShare{}, &recordv1.ShareEnvelope{}, &recordv1.ServerHalf{}, &recordv1.HomeKeys{}, &recordv1.Invitation{}} {
		if canonical.Unmarshal(b, m) == nil && k.plausible(m) {
			k.walk(m.ProtoReflect(), scope{})
		}
	}
}

// plausible refuses messages that only happen to have the form of their type.
func (k *knowledge) plausible(m proto.Message) bool {
	if s, ok := m.(*recordv1.SealedServerShare); ok {
		return s.Kind != recordv1.SealedServerShare_KIND_UNSPECIFIED && len(s.Sealed) > 0
	}
	a, ok := m.(interface{ GetAccount() []byte })
	return ok && len(a.GetAccount()) == 32
}

// walkRequest takes what answers to a request are bound to: the request's hash,
// and any nonces in it.
func (k *knowledge) walkRequest(asking *account, signed []byte) {
	request := &apiv1.SignedRequest{}
	if canonical.Unmarshal(signed, request) != nil {
		return
	}
	hash := api.RequestHash(request)
	add(&k.values, asking.asked, string(hash[:]))
	if body, ok := parse(request.Body); ok {
		for _, field := range body {
			if len(field) == 16 {
				add(&k.values, asking.nonces, string(field))
			}
		}
	}
}

func (k *knowledge) walkEntry(entry *ledger.Entry) {
	id, _ := entry.Account()
	account := k.values.account(string(id[:]))
	k.values.number(account.devices, entry.Author())
	for _, record := range entry.Records() {
		k.walk(record.ProtoReflect(), scope{account: string(id[:])})
		if bound := record.GetContactBound(); bound != nil {
			add(&k.values, account.contacts, contactObject(bound.Contact))
		}
		if r := record.GetRecovered(); r != nil {
			statement := &recordv1.RecoveredStatement{}
			if canonical.Unmarshal(r.Statement, statement) == nil {
				k.walk(statement.ProtoReflect(), scope{account: string(id[:])})
			}
		}
	}
}

// contactObject is what a contact's name is bound to.
func contactObject(c *recordv1.Contact) string {
	object := append([]byte{}, c.GetAccount()...)
	for _, d := range c.GetDevices() {
		object = append(append(object, d.SignKey...), d.SealKey...)
	}
	return string(object)
}

// walk takes the values of a message by the names of its fields, and every string
// of bytes in it with the values around it.
func (k *knowledge) walk(m protoreflect.Message, around scope) {
	around = k.look(m, around)
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		var values []protoreflect.Value
		if field.IsList() {
			for i := range value.List().Len() {
				values = append(values, value.List().Get(i))
			}
			if field.Name() == "members" {
				for i := range values {
					k.values.number(k.values.account(around.account).members, uint64(i)+1)
				}
			}
		} else {
			values = append(values, value)
		}
		for _, v := range values {
			switch field.Kind() {
			case protoreflect.MessageKind:
				k.walk(v.Message(), around)
			case protoreflect.BytesKind:
				k.addSealed(v.Bytes(), around)
			}
		}
		return true
	})
}

// look returns what a message's own fields say about all that is in it.
func (k *knowledge) look(m protoreflect.Message, around scope) scope {
	get := func(name string) (protoreflect.Value, bool) {
		field := m.Descriptor().Fields().ByName(protoreflect.Name(name))
		if field == nil || field.IsList() || !m.Has(field) {
			return protoreflect.Value{}, false
		}
		return m.Get(field), true
	}
	text := func(name string) string {
		if v, ok := get(name); ok {
			if b, ok := v.Interface().([]byte); ok {
				return string(b)
			}
		}
		return ""
	}
	number := func(name string) uint64 {
		if v, ok := get(name); ok {
			if n, ok := v.Interface().(uint64); ok {
				return n
			}
		}
		return 0
	}
	for _, name := range []string{"account", "contact"} {
		if id := text(name); len(id) == 32 {
			k.values.account(id)
			if around.account == "" && name == "account" {
				around.account = id
			}
		}
	}
	account := k.values.account(around.account)
	if n := number("epoch"); n != 0 {
		around.epoch = n
		k.values.number(account.epochs, n)
	}
	if slot := text("slot"); len(slot) == 16 {
		around.slot, around.version = slot, number("version")
	}
	if counter := number("counter"); counter != 0 {
		around.slotKey = slotKey{number("device"), counter}
		add(&k.values, k.values.slotKeys, around.slotKey)
	}
	for _, name := range []string{"device", "author"} {
		k.values.number(account.devices, number(name))
	}
	for _, name := range []string{"generation", "number"} {
		k.values.number(account.generations, number(name))
	}
	k.values.number(account.members, number("member"))
	if key := text("sign_key"); len(key) == 33 && around.account != "" {
		add(&k.values, account.signKeys, key)
	}
	return around
}

// looksSealed says whether a string may be a ciphertext. Hashes, keys and
// signatures, which have lengths that no ciphertext of ours has, are none.
func looksSealed(b []byte) bool {
	const overhead = 28
	return len(b) > overhead && !slices.Contains([]int{32, 33, 64, 65}, len(b)) &&
		!bytes.HasPrefix(b, []byte("zeropass/v1/")) && !bytes.HasPrefix(b, []byte("age-encryption.org/")) &&
		!bytes.HasPrefix(b, []byte("SQLite format 3")) && !printable(b)
}

package interchange

import (
	"encoding/json"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// kind is one of Bitwarden's types of items.
type kind struct {
	number json.Number // in "type"
	member string      // that holds what only this type has
	kind   recordv1.SlotMetadata_Kind
}

var kinds = []kind{
	{"1", "login", recordv1.SlotMetadata_KIND_LOGIN},
	{"2", "secureNote", recordv1.SlotMetadata_KIND_NOTE},
	{"3", "card", recordv1.SlotMetadata_KIND_CARD},
	{"4", "identity", recordv1.SlotMetadata_KIND_IDENTITY},
	{"5", "sshKey", recordv1.SlotMetadata_KIND_SSH_KEY},
}

// newItem returns an empty item of a kind.
func newItem(k kind) Item {
	s := &recordv1.Secret{}
	switch k.kind {
	case recordv1.SlotMetadata_KIND_LOGIN:
		s.Kind = &recordv1.Secret_Login{Login: &recordv1.Login{}}
	case recordv1.SlotMetadata_KIND_NOTE:
		s.Kind = &recordv1.Secret_Note{Note: &recordv1.Note{}}
	case recordv1.SlotMetadata_KIND_CARD:
		s.Kind = &recordv1.Secret_Card{Card: &recordv1.Card{}}
	case recordv1.SlotMetadata_KIND_IDENTITY:
		s.Kind = &recordv1.Secret_Identity{Identity: &recordv1.Identity{}}
	case recordv1.SlotMetadata_KIND_SSH_KEY:
		s.Kind = &recordv1.Secret_SshKey{SshKey: &recordv1.SshKey{}}
	}
	return Item{Metadata: &recordv1.SlotMetadata{Kind: k.kind}, Secret: s}
}

// itemNode ties an item of Bitwarden's to the messages.
func itemNode(item Item, k kind, folders, described *groups) node {
	m, s := item.Metadata, item.Secret
	return owner{rest: &s.Rest, node: object{
		{name: "id", node: text(&m.SourceId)},
		{name: "type", node: constant(k.number), required: true},
		{name: "name", node: title(&m.Title)},
		{name: "notes", node: text(&s.Notes)},
		{name: "favorite", node: boolean(&m.Favorite)},
		{name: "folderId", node: folder{&m.Folder, folders}},
		{name: "organizationId", node: kept{check: isText}},
		{name: "collectionIds", node: collections{described}},
		{name: "reprompt", node: kept{usual: json.Number("0"), check: orNull(isWhole)}},
		{name: "creationDate", node: date(&m.Created)},
		{name: "revisionDate", node: date(&m.Revised)},
		{name: "deletedDate", node: kept{check: isDate}},
		{name: "passwordHistory", node: history(&s.PasswordHistory)},
		{name: "fields", node: fields(&s.Fields)},
		{name: k.member, node: kindNode(m, s), required: k.kind == recordv1.SlotMetadata_KIND_SSH_KEY},
	}}
}

// constant is a node for a value that is known beforehand.
func constant(v any) node {
	return leaf{
		get:    func() any { return v },
		set:    func(any) {},
		normal: func(v any) (any, *fault) { return v, nil },
	}
}

func kindNode(m *recordv1.SlotMetadata, s *recordv1.Secret) object {
	switch k := s.Kind.(type) {
	case *recordv1.Secret_Login:
		return loginNode(m, k.Login)
	case *recordv1.Secret_Card:
		return cardNode(k.Card)
	case *recordv1.Secret_Identity:
		return identityNode(k.Identity)
	case *recordv1.Secret_SshKey:
		return object{
			{name: "privateKey", node: needed(&k.SshKey.PrivateKey), required: true},
			{name: "publicKey", node: needed(&k.SshKey.PublicKey), required: true},
			{name: "keyFingerprint", node: needed(&k.SshKey.Fingerprint), required: true},
		}
	default:
		return object{{name: "type", node: kept{usual: json.Number("0"), check: orNull(isWhole)}}}
	}
}

func loginNode(m *recordv1.SlotMetadata, l *recordv1.Login) object {
	return object{
		{name: "uris", node: list{
			usual:  []any{},
			length: func() int { return len(m.Uris) },
			grow:   func() { m.Uris = append(m.Uris, &recordv1.Uri{}) },
			at: func(i int) node {
				return object{
					{name: "match", node: digits(&m.Uris[i].Match)},
					{name: "uri", node: text(&m.Uris[i].Uri)},
				}
			},
		}},
		{name: "username", node: text(&m.UserName)},
		{name: "password", node: text(&l.Password)},
		{name: "totp", node: text(&l.Totp)},
		{name: "fido2Credentials", node: array(&l.Fido2)},
	}
}

func history(past *[]*recordv1.PastPassword) node {
	return list{
		usual:  nil,
		length: func() int { return len(*past) },
		grow:   func() { *past = append(*past, &recordv1.PastPassword{}) },
		at: func(i int) node {
			return object{
				{name: "lastUsedDate", node: text(&(*past)[i].LastUsed)},
				{name: "password", node: text(&(*past)[i].Password)},
			}
		},
	}
}

func fields(all *[]*recordv1.Field) node {
	return list{
		usual:  []any{},
		length: func() int { return len(*all) },
		grow:   func() { *all = append(*all, &recordv1.Field{}) },
		at: func(i int) node {
			f := (*all)[i]
			return owner{rest: &f.Rest, node: object{
				{name: "name", node: text(&f.Name)},
				{name: "value", node: text(&f.Value)},
				{name: "type", node: fieldType(&f.Type), required: true},
				{name: "linkedId", node: whole(&f.Linked)},
			}}
		},
	}
}

var fieldTypes = map[recordv1.Field_Type]json.Number{
	recordv1.Field_TYPE_TEXT:    "0",
	recordv1.Field_TYPE_HIDDEN:  "1",
	recordv1.Field_TYPE_BOOLEAN: "2",
	recordv1.Field_TYPE_LINKED:  "3",
}

func fieldType(p *recordv1.Field_Type) node {
	return leaf{
		get: func() any { return fieldTypes[*p] },
		set: func(v any) {
			for fieldType, number := range fieldTypes {
				if v == number {
					*p = fieldType
				}
			}
		},
		normal: func(v any) (any, *fault) {
			for _, number := range fieldTypes {
				if v == number {
					return v, nil
				}
			}
			return nil, wrong("is not 0 (text), 1 (hidden), 2 (boolean) or 3 (linked)")
		},
	}
}

func cardNode(c *recordv1.Card) object {
	return object{
		{name: "cardholderName", node: text(&c.Holder)},
		{name: "brand", node: text(&c.Brand)},
		{name: "number", node: text(&c.Number)},
		{name: "expMonth", node: text(&c.ExpiryMonth)},
		{name: "expYear", node: text(&c.ExpiryYear)},
		{name: "code", node: text(&c.Code)},
	}
}

func identityNode(i *recordv1.Identity) object {
	return object{
		{name: "title", node: text(&i.Title)},
		{name: "firstName", node: text(&i.FirstName)},
		{name: "middleName", node: text(&i.MiddleName)},
		{name: "lastName", node: text(&i.LastName)},
		{name: "address1", node: text(&i.Address1)},
		{name: "address2", node: text(&i.Address2)},
		{name: "address3", node: text(&i.Address3)},
		{name: "city", node: text(&i.City)},
		{name: "state", node: text(&i.State)},
		{name: "postalCode", node: text(&i.PostalCode)},
		{name: "country", node: text(&i.Country)},
		{name: "company", node: text(&i.Company)},
		{name: "email", node: text(&i.Email)},
		{name: "phone", node: text(&i.Phone)},
		{name: "ssn", node: text(&i.Ssn)},
		{name: "username", node: text(&i.UserName)},
		{name: "passportNumber", node: text(&i.PassportNumber)},
		{name: "licenseNumber", node: text(&i.LicenseNumber)},
	}
}

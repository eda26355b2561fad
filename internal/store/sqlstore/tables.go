package sqlstore

// kind is how a copy writes a column's values. No column has NULL.
type kind int

const (
	bytesKind kind = iota
	textKind
	intKind
	boolKind // a number in SQLite
)

type column struct {
	name string
	kind kind
}

// table is a table as copies have it.
type table struct {
	name    string
	columns []column
	order   string // makes two copies of one state the same
}

func blob(names ...string) []column    { return columns(bytesKind, names) }
func text(names ...string) []column    { return columns(textKind, names) }
func integer(names ...string) []column { return columns(intKind, names) }
func boolean(names ...string) []column { return columns(boolKind, names) }

func columns(k kind, names []string) []column {
	var all []column
	for _, name := range names {
		all = append(all, column{name, k})
	}
	return all
}

func concat(groups ...[]column) []column {
	var all []column
	for _, group := range groups {
		all = append(all, group...)
	}
	return all
}

// tables are all tables that have data, referenced ones first. A column that a
// migration adds has a default, which older copies get.
var tables = []table{
	{"server", concat(integer("id"), blob("keys")), "id"},
	{"accounts", concat(blob("account"), text("name", "name_key"), integer("sequence"), blob("head"), integer("position", "locked", "paused"), blob("verified")), "account"},
	{"entries", concat(blob("account"), integer("sequence"), blob("entry")), "account, sequence"},
	{"shares", concat(blob("account"), integer("kind", "epoch"), blob("slot"), integer("version", "member"), text("key"), blob("sealed"), integer("position")),
		"account, position"},
	{"contacts", blob("contact", "owner"), "contact, owner"},
	{"nonces", concat(integer("expires"), blob("key", "nonce", "token")), "expires, key, nonce"},
	{"activities", concat(blob("account"), integer("sequence"), blob("activity")), "account, sequence"},
	{"reveals", concat(blob("account"), integer("device", "number", "time")), "account, device, number"},
	{"attestations", concat(blob("account"), integer("device", "sequence"), blob("attestation")), "account, device"},
	{"inboxes", concat(blob("recipient"), integer("last")), "recipient"},
	{"messages", concat(blob("recipient"), integer("id"), blob("sender"), integer("kind"), text("topic"), blob("body"), integer("time")), "recipient, id"},
	{"acknowledgements", concat(blob("recipient"), integer("message", "device")), "recipient, message, device"},
	{"recoveries", concat(blob("id", "account", "request", "key"), integer("started", "sequence"), boolean("released"), blob("source")), "id"},
	{"approvals", concat(blob("recovery"), text("holder"), blob("approval", "sealed_share")), "recovery, holder"},
	{"kept", concat(blob("id", "account"), integer("device"), blob("adds"), text("key"), blob("request"), integer("received", "expires", "state", "refused_by")), "id"},
	{"replies", concat(blob("kept"), integer("device"), blob("reply")), "kept, device"},
	{"joins", concat(blob("key", "id", "account", "request"), integer("received", "expires"), blob("source")), "key"},
	{"alarm_settings", concat(blob("account"), text("mail", "webhook", "key"), blob("secret")), "account"},
	{"outbox", concat(blob("account"), integer("id"), text("alarm", "kind", "channel", "target", "key"), blob("secret", "body"),
		integer("created", "due", "attempt"), boolean("done"), integer("times")), "account, id"},
	{"countries", concat(blob("account"), text("country")), "account, country"},
	{"tokens", concat(blob("hash"), text("note"), integer("uses", "used", "created", "expires")), "hash"},
	{"removed", concat(blob("account"), integer("time")), "account"},
}

// Columns names the columns of every table that copies have, for a store to compare
// with its schema.
func Columns() map[string][]string {
	all := map[string][]string{}
	for _, t := range tables {
		for _, c := range t.columns {
			all[t.name] = append(all[t.name], c.name)
		}
	}
	return all
}

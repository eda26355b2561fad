package device

import (
	"strings"
	"unicode/utf8"

	"zeropass.dev/zeropass/credential"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
)

// unreadableName is said of a contact whose name in the ledger does not open. What
// opens was sealed by one of the owner's devices for that very contact.
const unreadableName = "the name in the ledger does not open: it was not given to this contact, or not in this place"

// checkContactName wants a name that a binding can carry.
func checkContactName(name string) error {
	if len(name) > credential.MaxContactName || !utf8.ValidString(name) {
		return failure(CodeUsage, nil, "choose a shorter one", "the name of a contact has at most %d bytes", credential.MaxContactName)
	}
	return nil
}

// nameContact seals what the owner calls a contact or paper into its binding,
// under the newest metadata key.
func (d *Device) nameContact(s *ledger.State, bound *recordv1.ContactBound, name string) error {
	g, err := d.generation(s, s.Generation())
	if err != nil {
		return err
	}
	bound.Generation = g.Number
	bound.SealedName, err = credential.SealContactName(d.o.Rand, g.Metadata, s.Account(), bound, name)
	return err
}

// givenName is the name that a binding carries, empty if the owner gave none.
func (d *Device) givenName(s *ledger.State, bound *recordv1.ContactBound) (string, error) {
	g, err := d.generation(s, bound.Generation)
	if err != nil {
		return "", err
	}
	return credential.OpenContactName(g.Metadata, s.Account(), bound)
}

// boundName is what a binding calls its contact or paper, and whether its name
// opens. One that does not is no reason to fail: a contact is then known by its
// account.
func (d *Device) boundName(s *ledger.State, bound *recordv1.ContactBound) (name string, readable bool) {
	name, err := d.givenName(s, bound)
	switch {
	case name != "":
	case bound.Contact == nil:
		name = "paper"
	default:
		name = namelessContact(bound.Contact)
	}
	return name, err == nil
}

func namelessContact(c *recordv1.Contact) string { return "contact " + accountOf(c)[:8] }

// contactNames are what the owner calls the contacts of the open epochs, by
// account in hexadecimal.
type contactNames map[string]string

func (d *Device) contactNames(s *ledger.State) contactNames {
	names := contactNames{}
	for _, e := range openEpochs(s) {
		for _, m := range e.Members {
			if m.Contact == nil {
				continue
			}
			if name, err := d.givenName(s, m.Binding); err == nil && name != "" {
				names[accountOf(m.Contact)] = name
			}
		}
	}
	return names
}

// of is what a contact is called: as it was invited, or by its account.
func (n contactNames) of(c *recordv1.Contact) string {
	if name := n[accountOf(c)]; name != "" {
		return name
	}
	return namelessContact(c)
}

// another returns the account, in hexadecimal, of another contact that has the
// name of this one; empty if none has.
func (n contactNames) another(c *recordv1.Contact, name string) string {
	for account, other := range n {
		if account != accountOf(c) && strings.EqualFold(other, name) {
			return account
		}
	}
	return ""
}

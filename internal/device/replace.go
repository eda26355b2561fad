package device

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
)

// ReplaceResult is a contact that gets no share of the next epoch.
type ReplaceResult struct {
	RotateResult
	Name    string
	Account ledger.AccountID
	Until   string // what the former contact can still do until the commit, in a sentence
	After   string // what it and others can do even then, in a sentence
}

// Replace prepares an epoch without one contact, named by its name or the first
// six or more digits of its account: the others keep their part, and its share is
// free for a new invitation, of the same person with new keys, too. It needs the
// second factor. If it dies anywhere, it goes on when it is run again.
func (d *Device) Replace(ctx context.Context, query string) (*ReplaceResult, error) {
	if err := d.refresh(ctx); err != nil {
		return nil, explain(err, "bring the ledgers together")
	}
	book, err := d.book()
	if err != nil {
		return nil, explain(err, "read the contacts")
	}
	s := d.home.State()
	names := d.contactNames(s)
	contact, err := names.bound(s, query)
	if err != nil {
		return nil, err
	}
	// Asked for before anything is remembered: whoever has not got it changes nothing.
	if err := d.readyToConfirm(s); err != nil {
		return nil, err
	}
	book.Replaced[accountOf(contact)] = true
	if err := d.save(bookFile, book); err != nil {
		return nil, explain(err, "remember who is replaced")
	}
	r, err := d.rotate(ctx, planOf(targetEpoch(s), book), book)
	if err != nil {
		return nil, err
	}
	result := &ReplaceResult{RotateResult: *r, Name: names.of(contact), Account: ledger.AccountID(contact.Account)}
	result.Until, result.After = formerContact(s.InUse(), result.Name, contact)
	return result, nil
}

// bound returns the contact of an open epoch that a name or account names.
func (n contactNames) bound(s *ledger.State, query string) (*recordv1.Contact, error) {
	var names []string
	var found []*recordv1.Contact
	query = strings.TrimSpace(query)
	for _, c := range contactsToKeep(s) {
		names = append(names, n.of(c))
		if strings.EqualFold(query, n.of(c)) || len(query) >= 6 && strings.HasPrefix(hex.EncodeToString(c.Account), strings.ToLower(query)) {
			found = append(found, c)
		}
	}
	slices.Sort(names)
	switch {
	case len(names) == 0:
		return nil, failure(CodeNotFound, nil, "zeropass contact list shows them", "nobody is a contact of this account yet")
	case len(found) == 0:
		return nil, failure(CodeNotFound, nil, "these are your contacts: "+strings.Join(names, ", "), "there is no contact %q", query)
	case len(found) > 1:
		return nil, failure(CodeUsage, nil, "name one by its account; zeropass contact list --json shows it", "%d contacts are called %q", len(found), query)
	}
	return found[0], nil
}

// formerContact says what somebody who was replaced can still do: nothing alone,
// unless one contact is all that it takes.
func formerContact(old *ledger.Epoch, name string, contact *recordv1.Contact) (until, after string) {
	m := memberOf(old, contact.Account)
	if m == nil || !m.Receipt {
		return fmt.Sprintf("%s has proved no share of epoch %d, which is in use", name, old.Number), ""
	}
	who := name + " alone"
	if others := old.Quorum() - 1; others > 0 {
		who = fmt.Sprintf("%s together with %s", name, count(others, "other contact"))
	}
	until = fmt.Sprintf("until then the old share counts: %s can approve a recovery, which you see and can veto for %s, or open everything with one of your devices and its passphrase", who, inWords(old.WaitingPeriod()))
	after = fmt.Sprintf("after that the server has nothing left for the old share; but %s, with old shares that were not erased and a copy of one of your devices and its passphrase, can still open what was stored before", who)
	return until, after
}

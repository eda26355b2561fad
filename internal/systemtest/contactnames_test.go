package systemtest

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"zeropass.dev/zeropass/credential"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/ledger"
)

// befriendAs makes contacts of an owner under names that are not their accounts'.
func (w *world) befriendAs(owner *person, labels map[string]*person) {
	w.t.Helper()
	for label, c := range labels {
		c.label = label
		w.befriend(owner, c)
	}
}

// contactNames are the names of the contacts in an epoch, and of paper.
func (p *person) contactNames(epoch uint64) []string {
	p.w.t.Helper()
	list, err := p.Contacts(context.Background())
	must(p.w.t, err)
	var names []string
	for _, c := range list.Contacts {
		if c.Epoch == epoch {
			names = append(names, c.Name)
		}
		if c.Unreadable != "" {
			p.w.t.Errorf("%s: %s", c.Name, c.Unreadable)
		}
	}
	slices.Sort(names)
	return names
}

func (p *person) wantContacts(epoch uint64, want ...string) {
	p.w.t.Helper()
	if got := p.contactNames(epoch); !slices.Equal(got, want) {
		p.w.t.Errorf("the contacts in epoch %d are %q, want %q", epoch, got, want)
	}
	st, err := p.Status(context.Background())
	must(p.w.t, err)
	for _, name := range want {
		if !slices.ContainsFunc(st.Shares, func(s device.Proof) bool { return s.Name == name && s.Epoch == epoch }) {
			p.w.t.Errorf("status does not show %q: %+v", name, st.Shares)
		}
	}
}

// Every device of the owner knows what the owner calls contacts and paper, and
// whoever confirms a contact sees the name that the other device gives it.
func TestNamesOfContactsOnAnotherDevice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	laptop, contacts := w.family("ann", "bob")
	w.befriendAs(laptop, map[string]*person{"aunt Ann": contacts[0]})
	phone := w.further("phone", laptop)
	phone.wantContacts(1, "aunt Ann")

	contacts[1].label = "Bob next door"
	accepted := w.accept(laptop, contacts[1])
	item, done := w.waits(phone, func() error {
		_, err := laptop.Confirm(ctx, device.ConfirmOptions{Contact: "Bob next door", Phrase: accepted.OwnPhrase})
		return err
	})
	if what := strings.Join(item.What, "\n"); !strings.Contains(what, "make Bob next door a contact") || !strings.Contains(what, accepted.OwnPhrase) {
		t.Errorf("the other device shows %q", item.What)
	}
	if len(item.Look) != 1 || !strings.Contains(item.Look[0], "eight words must be those that Bob next door read out") {
		t.Errorf("it says to look at %q", item.Look)
	}
	phone.confirmPending(item.ID)
	must(t, <-done)

	item, done = w.waits(phone, func() error { _, err := laptop.BindPaper(ctx, " in the bank "); return err })
	if !slices.Equal(item.What, []string{`print share 3 of epoch 1 on paper, called "in the bank"`}) {
		t.Errorf("the other device shows %q", item.What)
	}
	phone.confirmPending(item.ID)
	must(t, <-done)
	again, err := laptop.BindPaper(ctx, "in the bank")
	if err != nil || !again.Again {
		t.Errorf("%+v, %v", again, err)
	}
	_, err = laptop.BindPaper(ctx, "at home")
	wantCode(t, err, device.CodeUsage)
	for _, p := range []*person{laptop, phone} {
		p.sync()
		p.wantContacts(1, "Bob next door", "aunt Ann", "in the bank")
	}

	// Another device finds a contact by that name, and names go on in the next epoch.
	contacts[1].sync()
	phone.sync()
	var replaced *device.ReplaceResult
	withConfirms(t, func() {
		var err error
		replaced, err = phone.Replace(ctx, "bob NEXT door")
		must(t, err)
	}, laptop)
	if replaced.Name != "Bob next door" || !slices.Equal(replaced.Bound, []string{"aunt Ann"}) ||
		!slices.Equal(replaced.Left, []string{"Bob next door", "paper, member 3 (in the bank)"}) {
		t.Errorf("%+v", replaced)
	}
	laptop.sync()
	laptop.wantContacts(2, "aunt Ann")
}

// After a recovery the new device knows the contacts at once, without a word from
// the server or from them, and gives their names to the next epoch.
func TestNamesOfContactsComeBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann", nil)
	bob, cy, di := w.person("bob", nil), w.person("cy", nil), w.person("di", nil)
	w.befriendAs(ann, map[string]*person{"Robert": bob, "Cyril": cy, "Diana": di})
	ann.close() // and lost

	anew, started := w.newDevice("ann")
	w.approveAll(started.Phrase, bob, cy)
	w.wait(waiting + time.Minute)
	bob.sync()
	cy.sync()
	_, r := anew.finish()
	slices.Sort(r.Bound)
	if !slices.Equal(r.Bound, []string{"Cyril", "Diana", "Robert"}) {
		t.Errorf("bound %q", r.Bound)
	}
	anew.wantContacts(1, "Cyril", "Diana", "Robert")
	anew.wantContacts(2, "Cyril", "Diana", "Robert")
}

// cyAs is a binding of member 2 to somebody, with the name that another binding has.
func cyAs(th *thief, cy *thief, name *recordv1.ContactBound) *recordv1.ContactBound {
	return &recordv1.ContactBound{
		Epoch: 1, Member: 2, Generation: th.state.Generation(), SealedName: name.SealedName,
		Contact: &recordv1.Contact{Account: cy.keys.Account[:], Devices: []*recordv1.ContactDevice{
			{SignKey: cy.keys.Sign.PublicKey().Bytes(), SealKey: cy.keys.Seal.PublicKey().Bytes()},
		}},
	}
}

// A name that was taken from another contact does not open, which stops nothing: the
// contact is shown by its account, and that is said.
func TestNameOfAnotherContact(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	laptop, contacts := w.family("bob", "cy")
	w.befriendAs(laptop, map[string]*person{"Robert": contacts[0]})
	phone := w.further("phone", laptop)
	th, cy := w.thiefOf(laptop), w.thiefOf(contacts[1])
	stolen := th.state.InUse().Members[0].Binding
	bound := cyAs(th, cy, stolen)
	short := "contact " + cy.keys.Account.String()[:8]

	th.propose(bound)
	items, err := phone.Pending(ctx)
	if err != nil || len(items) != 1 || items[0].Cannot != "" {
		t.Fatalf("%+v, %v", items, err)
	}
	if what := strings.Join(items[0].What, "\n"); !strings.Contains(what, "make "+short+" a contact") || strings.Contains(what, "Robert") {
		t.Errorf("it shows %q", what)
	}
	if look := strings.Join(items[0].Look, "\n"); !strings.Contains(look, short+": the name in the ledger does not open") {
		t.Errorf("it says to look at %q", look)
	}
	_, err = phone.RefusePending(ctx, items[0].ID)
	must(t, err)

	// The name of a contact, given by the owner's device to somebody else.
	g := th.generations()[0]
	bound.SealedName, err = credential.SealContactName(rand.Reader, g.Metadata, th.keys.Account, bound, "robert")
	must(t, err)
	th.propose(bound)
	items, err = phone.Pending(ctx)
	if err != nil || len(items) != 1 {
		t.Fatalf("%+v, %v", items, err)
	}
	if look := strings.Join(items[0].Look, "\n"); !strings.Contains(look, "another contact, account "+contacts[0].Account().String()[:8]+", is called robert as well") {
		t.Errorf("it says to look at %q", look)
	}
	_, err = phone.RefusePending(ctx, items[0].ID)
	must(t, err)
}

// The same in the ledger, where an owner's program with a mistake has put it.
func TestNameOfAnotherContactInTheLedger(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	owner, contacts := w.family("bob", "cy")
	w.befriendAs(owner, map[string]*person{"Robert": contacts[0]})
	th, cy := w.thiefOf(owner), w.thiefOf(contacts[1])
	th.appendConfirmed(cyAs(th, cy, th.state.InUse().Members[0].Binding))
	owner.sync()

	short := "contact " + cy.keys.Account.String()[:8]
	list, err := owner.Contacts(ctx)
	must(t, err)
	if len(list.Contacts) != 2 || list.Contacts[0].Name != "Robert" || list.Contacts[0].Unreadable != "" ||
		list.Contacts[1].Name != short || !strings.Contains(list.Contacts[1].Unreadable, "does not open") {
		t.Errorf("%+v", list.Contacts)
	}
	st, err := owner.Status(ctx)
	if err != nil || !strings.Contains(strings.Join(st.Warnings, "\n"), short+", member 2 of epoch 1: the name in the ledger does not open") {
		t.Errorf("%q, %v", st.Warnings, err)
	}
	r, err := owner.Rotate(ctx, device.RotateOptions{})
	must(t, err)
	if !slices.Equal(r.Bound, []string{"Robert", short}) {
		t.Errorf("bound %q", r.Bound)
	}
	list, err = owner.Contacts(ctx)
	must(t, err)
	for _, c := range list.Contacts {
		if c.Epoch == 2 && c.Unreadable != "" {
			t.Errorf("the wrong name was taken over: %+v", c)
		}
	}
}

// appendConfirmed appends records with the device's own second factor.
func (th *thief) appendConfirmed(bound *recordv1.ContactBound) {
	t := th.w.t
	t.Helper()
	record, err := ledger.NewRecord(bound)
	must(t, err)
	head := th.state.Head()
	now := th.w.now()
	p := &recordv1.Proposal{
		Nonce: random(t, 16), BaseSequence: head.Sequence, BaseHash: head.Hash[:], Expiry: uint64(now.Add(time.Minute).UnixMilli()),
	}
	confirm, err := th.home.ConfirmKey([]byte(confirmPassphrase))
	must(t, err)
	c := ledger.ProposalContext(th.keys.Account, p, th.keys.Device, [][]byte{record}, recordv1.Endorsement_ROLE_CONFIRM, th.keys.Device)
	p.Endorsements = []*recordv1.Endorsement{{Role: recordv1.Endorsement_ROLE_CONFIRM, Device: th.keys.Device, Signature: confirm.Sign(c)}}
	entry, err := ledger.Draft{
		Account: &th.keys.Account, Previous: head, Time: now, Author: th.keys.Device, Records: [][]byte{record}, Proposal: p,
	}.Sign(th.keys.Sign)
	must(t, err)
	_, _, err = th.server.Append(context.Background(), th.identity(), &apiv1.AppendRequest{Entries: [][]byte{entry.Bytes()}})
	must(t, err)
}

// An invitation's name must fit into a binding.
func TestNameOfAContactThatIsTooLong(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.person("olivia", nil)
	for _, name := range []string{strings.Repeat("x", credential.MaxContactName+1), "\xff"} {
		_, err := owner.Invite(context.Background(), name)
		wantCode(t, err, device.CodeUsage)
		_, err = owner.BindPaper(context.Background(), name)
		wantCode(t, err, device.CodeUsage)
	}
	_, err := owner.Invite(context.Background(), strings.Repeat("x", credential.MaxContactName))
	must(t, err)
}

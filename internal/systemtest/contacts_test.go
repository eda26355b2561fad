package systemtest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/slip39"
)

// family is an owner with contacts, all of whom have accounts.
func (w *world) family(names ...string) (owner *person, contacts []*person) {
	w.t.Helper()
	owner = w.person("olivia", nil)
	for _, name := range names {
		contacts = append(contacts, w.person(name, nil))
	}
	return owner, contacts
}

func TestContactsMakeAnAccountRecoverable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	owner, contacts := w.family("ann", "bob", "cleo")
	for i, c := range contacts {
		accepted := w.accept(owner, c)
		bound := w.confirm(owner, c, accepted.OwnPhrase)
		if bound.Member != uint64(i)+1 || !bound.Sent || bound.Again {
			t.Fatalf("%s: %+v", c.name, bound)
		}
		r := c.sync()
		if len(r.Held) != 1 || r.Held[0] != "olivia" {
			t.Fatalf("%s holds shares of %q after its first sync; %q", c.name, r.Held, r.Notes)
		}
	}
	r := owner.sync()
	if len(r.Receipts) != 1 || r.Receipts[0] != "cleo" || len(r.Committed) != 1 || r.Committed[0] != 1 {
		t.Fatalf("receipts %q, committed %v; %q", r.Receipts, r.Committed, r.Notes)
	}

	t.Run("each share is another one and of the same seed", func(t *testing.T) {
		words := map[string]bool{}
		for i, c := range contacts {
			held, err := c.Held(ctx)
			if err != nil || len(held) != 1 {
				t.Fatalf("%s: %d shares, %v", c.name, len(held), err)
			}
			h := held[0]
			share, err := slip39.Parse(h.Words)
			if err != nil {
				t.Fatal(err)
			}
			if share.GroupIndex() != 2 || share.MemberIndex() != i || share.MemberThreshold() != 2 {
				t.Errorf("%s has group %d member %d threshold %d", c.name, share.GroupIndex(), share.MemberIndex(), share.MemberThreshold())
			}
			if !strings.EqualFold(h.QR, h.Words) {
				t.Errorf("the QR code of %s has other words", c.name)
			}
			if h.Owner != "olivia" || h.Account != owner.Account() || h.Quorum != 2 || h.Members != 3 || h.WaitingPeriod != 72*time.Hour {
				t.Errorf("%s: %s %v, %d of %d, %v", c.name, h.Owner, h.Account, h.Quorum, h.Members, h.WaitingPeriod)
			}
			words[h.Words] = true
		}
		if len(words) != 3 {
			t.Errorf("%d different shares", len(words))
		}
	})

	t.Run("a share is a slot of the contact's account too", func(t *testing.T) {
		entries, err := contacts[0].List("olivia")
		if err != nil || len(entries) != 1 || !entries[0].Accepted {
			t.Fatalf("%+v, %v", entries, err)
		}
		item, err := contacts[0].Get(ctx, entries[0].ID.String())
		if err != nil {
			t.Fatal(err)
		}
		held, err := contacts[0].Held(ctx)
		if err != nil {
			t.Fatal(err)
		}
		share, err := slip39.ParseBinary(item.Secret.GetHeldShare().GetShare())
		if err != nil || share.Mnemonic() != held[0].Words {
			t.Errorf("the slot has another share, %v", err)
		}
	})

	t.Run("shares are proved again and again", func(t *testing.T) {
		owner.sync()
		for _, c := range contacts {
			c.sync()
		}
		w.wait(time.Hour)
		owner.sync()
		before := owner.Head().Sequence
		for _, c := range contacts {
			c.sync()
		}
		owner.sync()
		list, err := owner.Contacts(ctx)
		if err != nil || len(list.Contacts) != 3 || list.Free != 0 || len(list.Invitations) != 0 {
			t.Fatalf("%+v, %v", list, err)
		}
		for _, c := range list.Contacts {
			if age := w.now().Sub(c.ProvedAt); !c.Receipt || age > time.Minute || c.ProvedHead != before {
				t.Errorf("%s: receipt %v, proved %v ago over entry %d of %d", c.Name, c.Receipt, age, c.ProvedHead, before)
			}
		}
		helps, err := contacts[1].Contacts(ctx)
		if err != nil || len(helps.Owners) != 1 || helps.Owners[0].Name != "olivia" || len(helps.Owners[0].Epochs) != 1 || helps.Owners[0].ProvedHead != before {
			t.Errorf("%+v, %v", helps, err)
		}
	})
}

func TestConfirmRefusesOtherWords(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	owner, contacts := w.family("ann", "bob")
	w.accept(owner, contacts[0])
	other := w.accept(owner, contacts[1])
	before := owner.Head()

	_, err := owner.Confirm(ctx, device.ConfirmOptions{Contact: "ann", Phrase: other.OwnPhrase})
	if !errors.Is(err, device.ErrPhrase) {
		t.Fatalf("the words of somebody else: %v", err)
	}
	_, err = owner.Confirm(ctx, device.ConfirmOptions{Contact: "ann", Compare: func(device.Phrases) (bool, error) { return false, nil }})
	if !errors.Is(err, device.ErrPhrase) {
		t.Fatalf("a person who says no: %v", err)
	}
	_, err = owner.Confirm(ctx, device.ConfirmOptions{Contact: "ann"})
	wantCode(t, err, device.CodeUsage)
	_, err = owner.Confirm(ctx, device.ConfirmOptions{Contact: "carl", Phrase: other.OwnPhrase})
	wantCode(t, err, device.CodeNotFound)
	owner.sync()
	if owner.Head() != before {
		t.Error("something was appended")
	}
	list, err := owner.Contacts(ctx)
	if err != nil || len(list.Contacts) != 0 || len(list.Invitations) != 2 || !list.Invitations[0].Answered {
		t.Fatalf("%+v, %v", list, err)
	}

	shown := false
	_, err = owner.Confirm(ctx, device.ConfirmOptions{Contact: "BOB", Compare: func(p device.Phrases) (bool, error) {
		shown = p.Theirs == other.OwnPhrase && p.Owner == other.OwnerPhrase
		return shown, nil
	}})
	if err != nil || !shown {
		t.Errorf("both screens show the same words: %v, %v", shown, err)
	}
}

func TestInvitationsThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	w, elsewhere := newWorld(t), newWorld(t)
	ctx := context.Background()
	owner, contacts := w.family("ann")
	stranger := elsewhere.person("sam", nil)
	invited, err := owner.Invite(ctx, "ann")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		by   *person
		text string
	}{
		"its own":           {owner, invited.Text},
		"at another server": {stranger, invited.Text},
		"cut short":         {contacts[0], invited.Text[:len(invited.Text)-5]},
		"one letter off":    {contacts[0], strings.Replace(invited.Text, "invite-1:C", "invite-1:D", 1)},
		"something else":    {contacts[0], "hello"},
		"nothing":           {contacts[0], ""},
		"a later version":   {contacts[0], strings.Replace(invited.Text, "invite-1", "invite-2", 1)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tt.by.Accept(ctx, tt.text)
			wantCode(t, err, device.CodeUsage)
			if !errors.Is(err, device.ErrInvitation) {
				t.Errorf("%v", err)
			}
		})
	}
	// Wrapped lines, as messengers make them, do no harm.
	wrapped := "\n " + invited.Text[:40] + "\n" + invited.Text[40:] + "\n"
	if _, err := contacts[0].Accept(ctx, wrapped); err != nil {
		t.Fatal(err)
	}
}

func TestAnInvitationIsUsedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	owner, contacts := w.family("ann", "mallory")
	invited, err := owner.Invite(ctx, "ann")
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := contacts[0].Accept(ctx, invited.Text)
	if err != nil {
		t.Fatal(err)
	}
	owner.sync()
	if _, err := contacts[1].Accept(ctx, invited.Text); err != nil {
		t.Fatal(err)
	}
	if r := owner.sync(); len(r.Answers) != 0 || len(r.Notes) == 0 {
		t.Errorf("a second answer: answers %q, notes %q", r.Answers, r.Notes)
	}
	if r := w.confirm(owner, contacts[0], accepted.OwnPhrase); r.Account != contacts[0].Account() {
		t.Errorf("bound to %v", r.Account)
	}
}

func TestAnInvitationExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	owner, contacts := w.family("ann", "bob")
	invited := map[string]*device.InviteResult{}
	for _, name := range []string{"ann", "bob"} {
		r, err := owner.Invite(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if life := r.Expiry.Sub(w.now()); life > 7*24*time.Hour || life < 7*24*time.Hour-time.Minute {
			t.Errorf("it lives %v", life)
		}
		invited[name] = r
	}
	w.wait(7*24*time.Hour - time.Minute)
	if _, err := contacts[0].Accept(ctx, invited["ann"].Text); err != nil {
		t.Fatalf("a minute before: %v", err)
	}
	w.wait(2 * time.Minute)
	_, err := contacts[1].Accept(ctx, invited["bob"].Text)
	wantCode(t, err, device.CodeUsage)
	if !errors.Is(err, device.ErrInvitation) || !strings.Contains(err.Error(), "olivia expired") {
		t.Errorf("a minute after: %v", err)
	}
	// Nor does the owner take an answer that comes after it.
	r := owner.sync()
	if len(r.Answers) != 0 || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "expired") {
		t.Errorf("answers %q, notes %q", r.Answers, r.Notes)
	}
	list, err := owner.Contacts(ctx)
	if err != nil || len(list.Invitations) != 2 || list.Invitations[0].Answered || !list.Invitations[0].Expiry.Equal(invited["ann"].Expiry) {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestShareSurvivesLostMessagesAndRestarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner, contacts := w.family("ann", "bob", "cleo")
	ann := contacts[0]
	accepted := w.accept(owner, ann)
	before := w.backup()
	w.confirm(owner, ann, accepted.OwnPhrase)
	// The server loses the binding and both halves on their way.
	w.restore(before)
	owner.reopen()
	owner.sync()
	ann.reopen()
	ann.sync()
	w.wait(48 * time.Hour) // until the owner's half is sent again
	owner.sync()
	if r := ann.sync(); len(r.Held) != 1 {
		t.Fatalf("held %q, %q", r.Held, r.Notes)
	}
	if r := owner.sync(); len(r.Receipts) != 1 {
		t.Fatalf("receipts %q, %q", r.Receipts, r.Notes)
	}
	// Syncing again changes nothing.
	head := owner.Head()
	for range 2 {
		ann.sync()
		owner.sync()
	}
	if owner.Head() != head {
		t.Error("the ledger grew")
	}
	if held, err := ann.Held(context.Background()); err != nil || len(held) != 1 || held[0].Words == "" {
		t.Errorf("%d shares, %v", len(held), err)
	}
}

func TestPaperIsAContact(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	owner, contacts := w.family("ann")
	w.befriend(owner, contacts...)
	paper, err := owner.BindPaper(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	if paper.Member != 2 || paper.Again || paper.Quorum != 2 {
		t.Errorf("%+v", paper)
	}
	owner.reopen()
	again, err := owner.BindPaper(ctx, "")
	if err != nil || again.Words != paper.Words || !again.Again {
		t.Fatalf("the same share is shown again until it is proved: %v", err)
	}
	_, err = owner.ConfirmPaper(ctx, strings.Replace(paper.Words, " ", " zebra ", 1))
	wantCode(t, err, device.CodeFailed)
	held, err := contacts[0].Held(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, err = owner.ConfirmPaper(ctx, held[0].Words)
	wantCode(t, err, device.CodeFailed)
	for range 2 { // repeating it does nothing
		confirmed, err := owner.ConfirmPaper(ctx, strings.ToUpper(paper.Words))
		if err != nil || confirmed.Member != 2 {
			t.Fatalf("%+v, %v", confirmed, err)
		}
	}
	if r := owner.sync(); len(r.Committed) != 1 {
		t.Errorf("committed %v, %q", r.Committed, r.Notes)
	}
	next, err := owner.BindPaper(ctx, "")
	if err != nil || next.Member != 3 || next.Words == paper.Words {
		t.Errorf("another sheet has another share: %v", err)
	}
	if !next.CountsFrom.After(w.now().Add(71 * time.Hour)) {
		t.Errorf("in a committed epoch it counts from %v", next.CountsFrom)
	}
}

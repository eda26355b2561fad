package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"zeropass.dev/zeropass/interchange"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/device"
)

// names of the contacts.
var contactNames = []string{"Ben", "Cleo", "Dan"}

// story is the demo under way.
type story struct {
	teller
	dir    string
	items  []interchange.Item
	report Report

	host     *host
	owner    *person
	phone    *person // while she has two devices
	contacts []*person
	words    []string // of the contacts' shares
}

// end lets go of whatever is open.
func (s *story) end() {
	for _, p := range append([]*person{s.owner, s.phone}, s.contacts...) {
		_ = p.close()
	}
	_ = s.host.stop()
}

// check notes one line of the verdict.
func (s *story) check(name, want, got string) {
	s.report.Checks = append(s.report.Checks, Check{Name: name, Want: want, Got: got, Passed: want == got})
}

// checkItems notes how many of the secrets came back, and tells it.
func (s *story) checkItems(name string, got []interchange.Item) error {
	n, err := same(s.items, got)
	if err != nil {
		return err
	}
	s.check(name, s.all(), s.of(n))
	if n == len(s.items) && len(got) == n {
		s.did("%s: %s, every field as it was", name, s.of(n))
	} else {
		s.refused("%s: %s as they were, among %d that came back", name, s.of(n), len(got))
	}
	return nil
}

func (s *story) all() string     { return s.of(len(s.items)) }
func (s *story) of(n int) string { return fmt.Sprintf("%d of %d secrets", n, len(s.items)) }

// begin starts the server and makes everybody's account.
func (s *story) begin(ctx context.Context) error {
	s.print("ZeroPass, the whole story on this computer: a server, Ada, and her contacts Ben, Cleo and Dan.\n")
	s.print("Real directories, real HTTP, real cryptography. Only two things are not as in life: the waiting\n")
	s.print("period is %d seconds instead of 72 hours, and passphrases are cheap to try.\n", int(WaitingPeriod.Seconds()))
	s.print("A ✓ is what worked; a ✗ is what was refused, or stays shut, as it must.\n")
	s.title("Everybody makes an account")
	var err error
	if s.host, err = newHost(ctx, s.dir); err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	s.did("a server runs on %s, key %s", s.host.url, s.host.keys.Fingerprint())
	if s.owner, err = s.newPerson(ctx, "Ada"); err != nil {
		return err
	}
	for _, name := range contactNames {
		p, err := s.newPerson(ctx, name)
		if err != nil {
			return err
		}
		s.contacts = append(s.contacts, p)
	}
	s.did("Ada, Ben, Cleo and Dan have a device each; every Private Master Seed was made, split and erased")
	return nil
}

// keep stores the owner's secrets and reveals them.
func (s *story) keep(ctx context.Context) error {
	s.title("Ada keeps her secrets")
	result, err := s.owner.Import(ctx, s.items)
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	if !result.Accepted {
		return fmt.Errorf("the server has not accepted the import: %w", result.Cause)
	}
	s.did("%d secrets stored, each split between device, server and backup", result.Added)
	revealed, lost, err := s.owner.Export(ctx)
	if err != nil {
		return fmt.Errorf("reveal: %w", err)
	}
	if len(lost) > 0 {
		return fmt.Errorf("reveal: %d secrets do not open", len(lost))
	}
	if err := s.checkItems("revealed with server and second factor", revealed); err != nil {
		return err
	}
	return s.status(ctx, "before there are contacts", "not recoverable")
}

// status tells the owner's verdict, and notes it.
func (s *story) status(ctx context.Context, when, want string) error {
	status, err := s.owner.Status(ctx)
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	got := "not recoverable"
	if status.Recoverable {
		got = "recoverable"
	}
	s.check("status "+when, want, got)
	tell := s.refused
	if status.Recoverable {
		tell = s.did
	}
	tell("zeropass status: %s", status.Verdict)
	for _, missing := range status.Missing {
		s.says(missing)
	}
	return nil
}

// befriend gives the owner's three contacts their shares.
func (s *story) befriend(ctx context.Context) error {
	s.title("Ada's contacts take a share each")
	for _, c := range s.contacts {
		invited, err := s.owner.Invite(ctx, c.name)
		if err != nil {
			return fmt.Errorf("invite %s: %w", c.name, err)
		}
		accepted, err := c.Accept(ctx, invited.Text)
		if err != nil {
			return fmt.Errorf("%s accepts: %w", c.name, err)
		}
		if _, err := s.owner.Confirm(ctx, device.ConfirmOptions{Contact: c.name, Phrase: accepted.OwnPhrase}); err != nil {
			return fmt.Errorf("confirm %s: %w", c.name, err)
		}
		s.did("%s accepts Ada's invitation and reads out: %s", c.name, accepted.OwnPhrase)
	}
	if err := s.syncAll(ctx); err != nil {
		return err
	}
	s.did("each share was put together on its contact's device alone, and each contact proved to have it")
	return s.status(ctx, "with three contacts", "recoverable")
}

// syncAll lets contacts and owner exchange what waits for them.
func (s *story) syncAll(ctx context.Context) error {
	for _, p := range append(append([]*person{s.owner}, s.contacts...), s.owner) {
		if _, err := p.Sync(ctx); err != nil {
			return fmt.Errorf("sync of %s: %w", p.name, err)
		}
	}
	return nil
}

// lose deletes the owner's device and recovers with server and contacts.
func (s *story) lose(ctx context.Context) error {
	s.title("Ada loses her phone, her only device now, and comes back")
	if err := s.owner.close(); err != nil {
		return err
	}
	if err := os.RemoveAll(s.owner.dir); err != nil {
		return err
	}
	s.did("the phone's directory is deleted; nothing of it is left on this computer")

	s.owner = &person{name: "Ada", dir: filepath.Join(s.dir, "home-Ada-new")}
	d, asked, err := device.RecoverStart(ctx, s.options(s.owner), device.RecoverOptions{
		Dir: s.owner.dir, ServerURL: s.host.url, Name: "Ada", UnlockCost: unlockCost,
		Passphrase: passphrase("Ada"), ConfirmPassphrase: confirmPassphrase("Ada"),
	})
	if err != nil {
		return fmt.Errorf("start the recovery: %w", err)
	}
	s.owner.Device = d
	s.did("on a new device she asks for her account, and reads to her contacts: %s", asked.Phrase)
	if err := s.hurry(ctx, asked); err != nil {
		return err
	}
	return s.comeBack(ctx)
}

// hurry lets two contacts approve too early and shows that the server does not
// release anything before it must.
func (s *story) hurry(ctx context.Context, asked *device.RecoveryResult) error {
	// A contact's own program waits as long as the server, counted from when it
	// first saw the request. It can be misled by a clock that is put right.
	const slow = 2 * WaitingPeriod
	early := s.contacts[:2]
	for _, c := range early {
		c.slow.Store(int64(slow))
		if _, err := c.Requests(ctx); err != nil {
			return fmt.Errorf("requests of %s: %w", c.name, err)
		}
		c.slow.Store(0)
	}
	s.did("the clocks of Ben and Cleo were slow when the request came, and were put right: their programs think that they have waited")
	for i, refusal := range []struct {
		name   string
		reason error
	}{
		{"the server with one approval", api.ErrNotEnoughApprovals},
		{"the server before the waiting period is over", api.ErrPeriodNotOver},
	} {
		if err := s.approve(ctx, early[i], asked.Phrase); err != nil {
			return err
		}
		if err := s.mustRefuse(ctx, refusal.name, refusal.reason); err != nil {
			return err
		}
	}
	if err := s.untilOver(ctx, asked.Ends); err != nil {
		return err
	}
	s.did("the waiting period of %d seconds is over", int(WaitingPeriod.Seconds()))
	return nil
}

// untilOver waits for the end of a waiting period.
func (s *story) untilOver(ctx context.Context, ends time.Time) error {
	for left := time.Until(ends); left > 0; left = time.Until(ends) {
		s.progress("the waiting period ends in %.1f s", left.Seconds())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(left, 100*time.Millisecond)):
		}
	}
	return nil
}

// mustRefuse tries to finish the recovery, which the server must refuse.
func (s *story) mustRefuse(ctx context.Context, name string, reason error) error {
	_, err := s.owner.RecoverFinish(ctx, device.FinishOptions{
		HandOver: func([]device.Item, []device.LostItem) error { return errors.New("nothing must be handed over yet") },
	})
	return s.mustFail(name, err, reason)
}

// explained is what a person is told.
func explained(err error) string {
	var e *device.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return fmt.Sprint(err)
}

// approve lets a contact approve, whose program must be done with waiting.
func (s *story) approve(ctx context.Context, c *person, phrase string) error {
	approved, err := c.Approve(ctx, device.ApproveOptions{Phrase: phrase})
	if err != nil {
		return fmt.Errorf("%s approves: %w", c.name, err)
	}
	if !approved.Sent {
		return fmt.Errorf("the approval of %s has not left; its program waits until %v", c.name, approved.Due)
	}
	s.did("%s has compared the phrase by voice and approves", c.name)
	return nil
}

// comeBack finishes the recovery and makes the account recoverable again.
func (s *story) comeBack(ctx context.Context) error {
	var back []device.Item
	finished, err := s.owner.RecoverFinish(ctx, device.FinishOptions{
		HandOver: func(items []device.Item, lost []device.LostItem) error {
			back = items
			if len(lost) > 0 {
				return fmt.Errorf("%d secrets did not come back, the first because of: %w", len(lost), lost[0].Err)
			}
			return nil
		},
	})
	if err != nil {
		return fmt.Errorf("finish the recovery: %w", err)
	}
	if err := s.checkItems("recovered with server and two contacts", back); err != nil {
		return err
	}
	s.did("the new device is the account's; epoch %d is prepared, with new shares for her %d contacts", finished.Epoch, len(finished.Bound))
	if err := s.syncAll(ctx); err != nil {
		return err
	}
	return s.status(ctx, "after the recovery", "recoverable")
}

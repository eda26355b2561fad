package demo

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/ledger"
)

// laptop is the number of the account's first device.
const laptop = 1

// grow adds a phone to the laptop, and lets each of the two confirm the other.
func (s *story) grow(ctx context.Context) error {
	s.title("Ada adds a phone; now each device confirms what the other asks")
	if err := s.addPhone(ctx); err != nil {
		return fmt.Errorf("add a phone: %w", err)
	}
	title := s.items[0].Metadata.Title
	var got *device.Item
	shown, err := s.answer(ctx, s.phone, (*device.Device).ConfirmPending, func() (err error) {
		got, err = s.owner.Get(ctx, title)
		return err
	})
	if err != nil {
		return fmt.Errorf("reveal with the phone's confirmation: %w", err)
	}
	n, err := same(s.items[:1], []device.Item{*got})
	if err != nil {
		return err
	}
	s.check("a reveal that the phone confirms", "1 secret", fmt.Sprintf("%d secret", n))
	s.did("the laptop asks; the phone shows: %s", shown)
	s.did("Ada confirms on the phone, and the laptop shows the secret")
	return s.refuse(ctx, "the phone asks for everything, and the laptop refuses", s.owner, func() error {
		_, _, err := s.phone.Export(ctx)
		return err
	})
}

// addPhone makes a second device of the account. The person in front of both
// screens compares both phrases.
func (s *story) addPhone(ctx context.Context) error {
	s.phone = &person{name: "Ada", dir: filepath.Join(s.dir, "home-Ada-phone")}
	shown, joined := make(chan device.JoinShown, 1), make(chan error, 1)
	go func() {
		var err error
		s.phone.Device, _, err = device.Join(ctx, s.options(s.phone), device.JoinOptions{
			Dir: s.phone.dir, ServerURL: s.host.url, Name: "Ada", UnlockCost: unlockCost,
			Passphrase: passphrase("Ada"), ConfirmPassphrase: confirmPassphrase("Ada"),
			Show:          func(j device.JoinShown) error { shown <- j; return nil },
			AccountPhrase: s.owner.AccountPhrase(),
		})
		joined <- err
	}()
	select {
	case j := <-shown:
		s.did("both screens show the phone's words: %s", j.Phrases.Device)
		s.did("and the account's: %s", j.Phrases.Account)
		_, err := s.owner.ApproveDevice(ctx, device.ApproveDeviceOptions{Name: "phone", Phrase: j.Phrases.Device})
		if err = errors.Join(err, <-joined); err != nil {
			return err
		}
	case err := <-joined:
		return err
	}
	if _, err := s.owner.Sync(ctx); err != nil {
		return err
	}
	s.did("the phone is a device of the account, and has folded all %d entries of the ledger itself", s.phone.Head().Sequence)
	return nil
}

// answer runs ask, which waits for another device, and answers there what comes.
// It returns how the other device shows it.
func (s *story) answer(ctx context.Context, by *person, how func(*device.Device, context.Context, string) (*device.PendingItem, error), ask func() error) (shown string, err error) {
	asked := make(chan error, 1)
	go func() { asked <- ask() }()
	for {
		select {
		case err := <-asked:
			return shown, err
		case <-time.After(20 * time.Millisecond):
		}
		if shown != "" {
			continue
		}
		items, err := by.Pending(ctx)
		if err != nil {
			return "", errors.Join(err, <-asked)
		}
		for _, item := range items {
			if item.Own {
				continue
			}
			shown = fmt.Sprintf("%s (device %d): %s", item.DeviceName, item.Device, strings.Join(item.What, "; "))
			if _, err := how(by.Device, ctx, item.ID); err != nil {
				return "", errors.Join(err, <-asked)
			}
		}
	}
}

// refuse runs ask, which another device refuses, and notes that.
func (s *story) refuse(ctx context.Context, name string, by *person, ask func() error) error {
	_, err := s.answer(ctx, by, (*device.Device).RefusePending, ask)
	return s.mustFail(name, err, api.ErrConfirmationRefused)
}

// mustFail notes that something was refused for the reason that it must be.
func (s *story) mustFail(name string, err, reason error) error {
	if err != nil && !errors.Is(err, reason) {
		return fmt.Errorf("%s: %w", name, err)
	}
	got := "refused"
	if err == nil {
		got = "done"
	}
	s.check(name, "refused", got)
	if err == nil {
		s.did("%s: done", name)
	} else {
		s.refused("%s: %s", name, explained(err))
	}
	return nil
}

// steal lets a thief take the laptop, unlocked and with both passphrases.
func (s *story) steal(ctx context.Context) error {
	s.title("A thief takes the laptop, unlocked, and knows its passphrases")
	thief := s.owner
	title := s.items[0].Metadata.Title
	if err := s.refuse(ctx, "the thief asks for a secret, and Ada refuses on her phone", s.phone, func() error {
		_, err := thief.Get(ctx, title)
		return err
	}); err != nil {
		return err
	}
	if _, err := s.phone.LockDevice(ctx, laptop); err != nil {
		return fmt.Errorf("lock the laptop: %w", err)
	}
	locked := time.Now()
	s.did("she locks the laptop from the phone, at once")
	_, err := thief.Get(ctx, title)
	if err := s.mustFail("the thief asks again", err, api.ErrDeviceLocked); err != nil {
		return err
	}
	_, err = s.phone.RevokeDevice(ctx, laptop)
	if err := s.mustFail("the phone alone revokes it at once", err, &ledger.RuleError{Rule: ledger.RuleConfirmWait}); err != nil {
		return err
	}
	s.says("so that a thief who locks Ada's phone gains nothing either")
	if err := s.untilOver(ctx, locked.Add(WaitingPeriod)); err != nil {
		return err
	}
	return s.revoke(ctx)
}

// revoke ends what the laptop can do, and what it knows.
func (s *story) revoke(ctx context.Context) error {
	if _, err := s.phone.RevokeDevice(ctx, laptop); err != nil {
		return fmt.Errorf("revoke the laptop: %w", err)
	}
	s.did("the waiting period is over: she revokes the laptop with the phone's confirm key")
	suspects, err := s.phone.Suspects(ctx, laptop)
	if err != nil {
		return fmt.Errorf("what the laptop could have seen: %w", err)
	}
	s.did("the phone lists what the laptop could have seen, the worst first:")
	for i, secret := range suspects.Secrets {
		if i == 2 {
			s.says(fmt.Sprintf("… and %d more", len(suspects.Secrets)-i))
			break
		}
		s.says(fmt.Sprintf("%s: %s", secret.Metadata.Title, secret.Why))
	}
	result, err := s.phone.Rotate(ctx, device.RotateOptions{})
	if err != nil {
		return fmt.Errorf("rotate: %w", err)
	}
	if err := s.owner.close(); err != nil {
		return err
	}
	s.owner, s.phone = s.phone, nil
	s.did("epoch %d: a new Private Master Seed, new shares for her contacts; the laptop's keys open none of it", result.Epoch)
	if err := s.syncAll(ctx); err != nil {
		return err
	}
	return s.status(ctx, "after the theft", "recoverable")
}

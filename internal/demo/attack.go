package demo

import (
	"context"
	"fmt"
	"path/filepath"

	"zeropass.dev/zeropass/internal/adversary"
)

// attack lets an adversary take parties' directories, unlocked, one by one and in
// pairs.
func (s *story) attack(ctx context.Context) error {
	s.title("An adversary takes directories, unlocked, and tries every key on everything")
	server, err := adversary.Server(filepath.Join(s.taken(), filepath.Base(s.host.database())), s.host.keyFile)
	if err != nil {
		return fmt.Errorf("take the server: %w", err)
	}
	defer server.Erase()
	own, err := adversary.Device(s.owner.dir, passphrase("Ada"))
	if err != nil {
		return fmt.Errorf("take Ada's device: %w", err)
	}
	defer own.Erase()
	stolen, err := adversary.Device(filepath.Join(s.dir, "home-Ada"), passphrase("Ada"))
	if err != nil {
		return fmt.Errorf("take the stolen laptop: %w", err)
	}
	defer stolen.Erase()
	contacts := make([]*adversary.Party, len(s.contacts))
	for i, c := range s.contacts {
		if contacts[i], err = adversary.Device(c.dir, passphrase(c.name)); err != nil {
			return fmt.Errorf("take the device of %s: %w", c.name, err)
		}
		defer contacts[i].Erase()
	}
	targets := adversary.Targets(s.items)
	none, all := s.of(0), s.all()
	for _, a := range []struct {
		name    string
		parties []*adversary.Party
		want    string
	}{
		{"the server alone", []*adversary.Party{server}, none},
		{"Ada's device alone", []*adversary.Party{own}, none},
		{"the stolen laptop alone", []*adversary.Party{stolen}, none},
		{"Ben alone", contacts[:1], none},
		{"Cleo alone", contacts[1:2], none},
		{"Dan alone", contacts[2:], none},
		{"Ben, Cleo and Dan together", contacts, none},
		{"the server and Ben", []*adversary.Party{server, contacts[0]}, none},
		{"Ada's device and Ben", []*adversary.Party{own, contacts[0]}, none},
		{"both of her devices", []*adversary.Party{own, stolen}, none},
		{"server and device", []*adversary.Party{server, own}, all},
		{"server and two contacts", []*adversary.Party{server, contacts[0], contacts[2]}, all},
		{"device and two contacts", []*adversary.Party{own, contacts[0], contacts[2]}, all},
	} {
		s.progress("%s", a.name)
		result, err := adversary.Attack(ctx, targets, a.parties...)
		if err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		got := s.of(len(result.Opened))
		s.check(a.name, a.want, got)
		tell := s.did
		if len(result.Opened) == 0 {
			tell = s.refused
		}
		tell("%-28s %s (%d keys on %d ciphertexts)", a.name, got, result.Keys, result.Ciphertexts)
	}
	return nil
}

package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/interchange"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/slip39"
)

// leave takes the server away for good and recovers without it.
func (s *story) leave(ctx context.Context) error {
	s.title("The server is gone for good")
	if err := s.host.stop(); err != nil {
		return err
	}
	// The adversary of the last act has taken a copy before.
	if err := os.CopyFS(s.taken(), os.DirFS(s.host.dir)); err != nil {
		return fmt.Errorf("copy the server's directory: %w", err)
	}
	if err := os.RemoveAll(s.host.dir); err != nil {
		return err
	}
	s.did("the server is stopped and its directory deleted")

	for _, c := range s.contacts {
		held, err := c.Held(ctx)
		if err != nil {
			return fmt.Errorf("shares held by %s: %w", c.name, err)
		}
		var newest device.HeldShare
		for _, share := range held {
			if share.Epoch > newest.Epoch {
				newest = share
			}
		}
		s.words = append(s.words, newest.Words)
		if err := os.WriteFile(s.wordsFile(c.name), []byte(newest.Words+"\n"), 0o600); err != nil {
			return err
		}
		if err := c.close(); err != nil {
			return err
		}
	}
	if err := s.owner.close(); err != nil {
		return err
	}
	s.did("Ben and Dan read out the words of their shares: %.40s…", s.words[0])
	// What a person would type into zeropass-recover.
	items, err := offline(ctx, s.owner.dir, passphrase("Ada"), []string{s.words[0], s.words[2]})
	if err != nil {
		return fmt.Errorf("recover without the server: %w", err)
	}
	return s.checkItems("recovered without the server", items)
}

// wordsFile is where a contact's words are written down.
func (s *story) wordsFile(name string) string { return filepath.Join(s.dir, "words-"+name) }

// taken is where the adversary keeps the server's directory.
func (s *story) taken() string { return filepath.Join(s.dir, "server-taken") }

// offline does what zeropass-recover does, with public packages alone: a device's
// directory, its passphrase and a quorum's words give everything back.
func offline(ctx context.Context, dir string, passphrase []byte, words []string) ([]interchange.Item, error) {
	h, err := home.OpenReadOnly(dir)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	if err := h.Unlock(passphrase); err != nil {
		return nil, err
	}
	own, err := recovery.FromHome(h)
	if err != nil {
		return nil, err
	}
	defer own.Erase()
	state := own.State()
	shares, epoch, err := parseShares(state, words)
	defer func() {
		for _, share := range shares {
			share.Erase()
		}
	}()
	if err != nil {
		return nil, err
	}
	deviceShare, err := own.SeedShare(epoch)
	if err != nil {
		return nil, err
	}
	shares = append(shares, deviceShare)
	keys, _, err := recovery.Rebuild(shares, state, epoch)
	if err != nil {
		return nil, err
	}
	backup := recovery.NewBackup(state, epoch, keys)
	defer backup.Erase()
	opened, err := recovery.Open(ctx, state, epoch, own, backup)
	if err != nil {
		return nil, err
	}
	items := make([]interchange.Item, 0, len(opened))
	for _, o := range opened {
		if o.Err != nil {
			return nil, fmt.Errorf("slot %v: %w", o.Slot, o.Err)
		}
		items = append(items, interchange.Item{Metadata: o.Metadata, Secret: o.Secret})
	}
	return items, nil
}

// parseShares reads the contacts' words, which must be of one epoch.
func parseShares(state *ledger.State, words []string) (shares []*slip39.Share, epoch uint64, err error) {
	for _, text := range words {
		share, err := recovery.ParseShare(text)
		if err != nil {
			return shares, 0, err
		}
		shares = append(shares, share)
		place, err := recovery.Identify(share, state)
		if err != nil {
			return shares, 0, err
		}
		if epoch != 0 && place.Epoch != epoch {
			return shares, 0, fmt.Errorf("the words are of epochs %d and %d", epoch, place.Epoch)
		}
		epoch = place.Epoch
	}
	return shares, epoch, nil
}

package server

import (
	"context"
	"fmt"
	"io"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

const (
	accountsAtOnce = 256
	// rotateAtOnce is how many things of a kind one transaction encrypts anew: few
	// enough to make nobody wait.
	rotateAtOnce = 32
)

// Rotate encrypts under the first of the keys whatever stands under another one,
// in small transactions beside running servers, and returns how much that was. It
// can be stopped at any time and run again. progress, if it is not nil, is told how
// many accounts are done, and how many things.
func Rotate(ctx context.Context, s store.Maintained, keys *Keys, rand io.Reader, progress func(accounts, things int)) (int, error) {
	accounts, things := 0, 0
	err := eachAccount(ctx, s, func(a store.Account) error {
		n, err := rotateAccount(ctx, s, keys, rand, a.ID)
		accounts++
		things += n
		if progress != nil {
			progress(accounts, things)
		}
		return err
	})
	return things, err
}

// eachAccount calls f with every account, in the order of their ids.
func eachAccount(ctx context.Context, s store.Maintained, f func(store.Account) error) error {
	var after ledger.AccountID
	for {
		page, err := s.Accounts(ctx, after, accountsAtOnce)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, a := range page {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := f(a); err != nil {
				return err
			}
		}
		after = page[len(page)-1].ID
	}
}

func rotateAccount(ctx context.Context, s store.Maintained, keys *Keys, rand io.Reader, id ledger.AccountID) (int, error) {
	with := keys.ring.first()
	done := 0
	for {
		things, err := s.Encrypted(ctx, id, with.id, rotateAtOnce)
		if err != nil || len(things) == 0 {
			return done, err
		}
		var changes []store.Reencryption
		for _, e := range things {
			change, err := reencrypt(keys, with, rand, e)
			if err != nil {
				return done, err
			}
			changes = append(changes, change)
		}
		n, err := s.Reencrypt(ctx, id, changes)
		if err != nil {
			return done, err
		}
		done += n
	}
}

func reencrypt(keys *Keys, with encryptionKey, rand io.Reader, e store.Encrypted) (store.Reencryption, error) {
	plain, err := openEncrypted(keys, e)
	if err != nil {
		return store.Reencryption{}, err
	}
	defer clear(plain)
	sealed, err := with.key.Seal(rand, encryptedContext(e, with.id), plain)
	if err != nil {
		return store.Reencryption{}, err
	}
	return store.Reencryption{Encrypted: e, NewKey: with.id, NewSealed: sealed}, nil
}

// openEncrypted opens whatever stands encrypted. The caller erases it.
func openEncrypted(keys *Keys, e store.Encrypted) ([]byte, error) {
	key, err := keys.ring.key(e.Key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", encryptedName(e), err)
	}
	plain, err := key.Open(encryptedContext(e, e.Key), e.Sealed)
	if err != nil {
		return nil, fmt.Errorf("%s does not open: %w", encryptedName(e), err)
	}
	return plain, nil
}

// encryptedContext is what the encryption is bound to.
func encryptedContext(e store.Encrypted, key string) *signing.Context {
	switch e.Kind {
	case store.EncryptedShare:
		return storedContext(e.Account, e.Share, key)
	case store.EncryptedRequest:
		return keptContext(&store.Kept{Account: e.Account, ID: e.Request, Key: key})
	default: // a delivery has a copy of the settings' secret
		return webhookContext(e.Account, key)
	}
}

func encryptedName(e store.Encrypted) string {
	switch e.Kind {
	case store.EncryptedShare:
		return shareName(e.Share)
	case store.EncryptedRequest:
		return fmt.Sprintf("the request %x that waits", e.Request[:])
	case store.EncryptedAlarmSettings:
		return "the webhook's secret"
	default:
		return fmt.Sprintf("the webhook's secret with delivery %d", e.Delivery)
	}
}

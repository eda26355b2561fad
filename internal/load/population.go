package load

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
)

// Population is the simulated accounts of one server.
type Population struct {
	*Driver
	Accounts []*Account // with one device
	Pairs    []*Account // with two
	Lost     []*Lost    // without one
	Large    []*Account // with many secrets

	server *recordv1.Server
	seal   *hpke.PublicKey
	client *client.Client
	origin *origin
}

// NewPopulation asks a server who it is, and for its half of the seed.
func NewPopulation(ctx context.Context, s *Server) (*Population, error) {
	identity, err := client.Identify(ctx, nil, s.URL, rand.Reader)
	if err != nil {
		return nil, err
	}
	sign, err := signing.NewPublicKey(identity.SignKey)
	if err != nil {
		return nil, err
	}
	p := &Population{Driver: newDriver(s, sign), server: identity}
	if p.seal, err = hpke.NewPublicKey(identity.SealKey); err != nil {
		return nil, err
	}
	if err := p.Restarted(s); err != nil {
		return nil, err
	}
	first, err := p.register(ctx, "first")
	if err != nil {
		return nil, err
	}
	d, nonce := first.devices[0], make([]byte, api.NonceSize)
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	answer, err := p.client.SeedHalf(ctx, first.who(d), &apiv1.SeedHalfRequest{Nonce: nonce})
	if err != nil {
		return nil, err
	}
	half, err := seed.OpenServerHalf(d.seal, first.ID, [16]byte(nonce), 1, answer.Sealed)
	if err != nil {
		return nil, err
	}
	p.origin, err = newOrigin(rand.Reader, half)
	return p, err
}

// Restarted goes on with a server that was started again over the same data.
func (p *Population) Restarted(s *Server) (err error) {
	p.close()
	p.Driver = newDriver(s, p.key)
	p.client, err = client.New(p.http, s.URL, p.key, rand.Reader, time.Now)
	return err
}

// Close lets go of the connections to the server.
func (p *Population) Close() { p.close() }

// register makes an account that has nothing but Genesis.
func (p *Population) register(ctx context.Context, name string) (*Account, error) {
	a, entry, err := genesis(rand.Reader, p.server, name, time.Now())
	if err != nil {
		return nil, err
	}
	return a, patiently(ctx, func() error {
		_, _, err := p.client.CreateAccount(ctx, api.Identity{Key: a.devices[0].sign}, &apiv1.CreateAccountRequest{Name: name, Entry: entry.Bytes()})
		return err
	})
}

// create makes an account with an epoch and one slot.
func (p *Population) create(ctx context.Context, name string) (*Account, error) {
	a, err := p.register(ctx, name)
	if err != nil {
		return nil, err
	}
	d := a.devices[0]
	epoch, shares, err := p.origin.prepare(rand.Reader, a, d.entered(), a.keys, p.seal)
	if err != nil {
		return nil, err
	}
	prepared, err := a.entry(d, time.Now(), nil, epoch)
	if err != nil {
		return nil, err
	}
	put, share, err := a.put(rand.Reader, p.origin, p.seal)
	if err != nil {
		return nil, err
	}
	if a.slot, err = canonical.Marshal(put); err != nil {
		return nil, err
	}
	stored, err := a.entry(d, time.Now(), nil, put)
	if err != nil {
		return nil, err
	}
	_, err = p.append(ctx, a, d, &apiv1.AppendRequest{
		Entries: [][]byte{prepared.Bytes(), stored.Bytes()}, Shares: append(shares, share),
	})
	return a, err
}

// append sends what a device wants to append.
func (p *Population) append(ctx context.Context, a *Account, d *device, r *apiv1.AppendRequest) (answer *apiv1.AppendAnswer, err error) {
	return answer, patiently(ctx, func() error {
		answer, _, err = p.client.Append(ctx, a.who(d), r)
		return err
	})
}

// patiently asks again while the server is too busy, as devices do.
func patiently(ctx context.Context, ask func() error) error {
	for tries := range 60 {
		err := ask()
		if !errors.Is(err, api.ErrUnavailable) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Duration(min(tries+1, 10)) * 50 * time.Millisecond):
		}
	}
	return ask()
}

// creators is how many accounts are made at a time.
const creators = 32

// Grow makes accounts until there are so many. progress, which may be nil, is told
// how many there are.
func (p *Population) Grow(ctx context.Context, accounts int, progress func(int)) error {
	return grow(ctx, &p.Accounts, accounts, progress, func(ctx context.Context, i int) (*Account, error) {
		return p.create(ctx, fmt.Sprintf("account-%d", i))
	})
}

// GrowLarge makes accounts with so many secrets, each in an entry of its own, until
// there are so many accounts.
func (p *Population) GrowLarge(ctx context.Context, accounts, secrets int) error {
	return grow(ctx, &p.Large, accounts, nil, func(ctx context.Context, i int) (*Account, error) {
		a, err := p.create(ctx, fmt.Sprintf("large-%d", i))
		if err != nil {
			return nil, err
		}
		d, request := a.devices[0], &apiv1.AppendRequest{}
		for range secrets - 1 {
			put, share, err := a.put(rand.Reader, p.origin, p.seal)
			if err != nil {
				return nil, err
			}
			entry, err := a.entry(d, time.Now(), nil, put)
			if err != nil {
				return nil, err
			}
			request.Entries, request.Shares = append(request.Entries, entry.Bytes()), append(request.Shares, share)
		}
		_, err = p.append(ctx, a, d, request)
		return a, err
	})
}

// grow makes things, many at a time, until the list has so many.
func grow[T any](ctx context.Context, list *[]T, size int, progress func(int), make func(context.Context, int) (T, error)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	begin := len(*list)
	if size <= begin {
		return nil
	}
	all := slices.Grow(*list, size-begin)[:size]
	var next, made atomic.Int64
	var group sync.WaitGroup
	for range creators {
		group.Go(func() {
			for ctx.Err() == nil {
				i := begin + int(next.Add(1)) - 1
				if i >= size {
					return
				}
				one, err := make(ctx, i)
				if err != nil {
					cancel(fmt.Errorf("load: make account %d: %w", i, err))
					return
				}
				all[i] = one
				if n := made.Add(1); progress != nil && n%100 == 0 {
					progress(begin + int(n))
				}
			}
		})
	}
	group.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	*list = all
	return nil
}

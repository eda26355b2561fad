package adversary

import (
	"context"
	"errors"
	"fmt"
)

// Result says what parties opened together.
type Result struct {
	Opened      []string // names of targets, in their order
	Keys        int      // strings that were tried as keys
	Ciphertexts int      // that they were tried on
	Plaintexts  int      // that came out, and out of combining shares
}

// Errors of attacks that would find nothing for the wrong reason.
var (
	errNoValue = errors.New("nothing in it can be searched for")
	errErased  = errors.New("adversary: a party was erased")
)

// maxParties is how many can be put together.
const maxParties = 64

// Together puts parties together and opens whatever they can. The result is a
// party itself, so that a larger set can start from what smaller ones have opened.
func Together(ctx context.Context, parties ...*Party) (*Party, error) {
	if len(parties) == 0 || len(parties) > maxParties {
		return nil, fmt.Errorf("adversary: %d parties, want 1 to %d", len(parties), maxParties)
	}
	all := make([]*knowledge, len(parties))
	for i, p := range parties {
		var err error
		if all[i], err = p.close(ctx); err != nil {
			return nil, err
		}
	}
	if len(all) == 1 {
		return parties[0], nil
	}
	p := &Party{known: join(all)}
	if _, err := p.close(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// Attack puts parties together, opens whatever they can, and returns which of the
// targets stand in anything that they have or have opened.
func Attack(ctx context.Context, targets []Target, parties ...*Party) (*Result, error) {
	for i, t := range targets {
		if len(t.values) == 0 {
			return nil, fmt.Errorf("adversary: target %d: %w", i+1, errNoValue)
		}
	}
	together, err := Together(ctx, parties...)
	if err != nil {
		return nil, err
	}
	if len(parties) > 1 {
		defer together.eraseApart(parties)
	}
	k, err := together.close(ctx)
	if err != nil {
		return nil, err
	}
	opened := make([]bool, len(targets))
	x := newIndex(targets)
	for _, text := range k.texts {
		x.search(text, opened)
	}
	r := &Result{Keys: len(k.keys), Plaintexts: len(k.plaintexts)}
	for _, s := range k.sealed {
		if len(s.contexts) > 0 {
			r.Ciphertexts++
		}
	}
	for i, t := range targets {
		if opened[i] {
			r.Opened = append(r.Opened, t.name)
		}
	}
	return r, nil
}

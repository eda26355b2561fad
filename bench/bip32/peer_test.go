// Package bip32_test holds package bip32 against hdkeychain of btcutil, an
// independent implementation with an independent curve package.
package bip32_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/btcsuite/btcd/btcutil/hdkeychain"
	"github.com/btcsuite/btcd/chaincfg"
	"zeropass.dev/zeropass/bip32"
)

const (
	derivations = 10_000
	maxDepth    = 12
)

// pair is one key, private or public, in both implementations.
type pair struct {
	private *bip32.PrivateKey // nil if public
	public  *bip32.PublicKey
	peer    *hdkeychain.ExtendedKey
}

// counts says how many derivations of each kind were compared.
type counts struct {
	hardened, normal, public int

	// shortHardened counts hardened children of private keys that begin with
	// a zero byte, where implementations have gone wrong (btcutil issue 172).
	shortHardened int
}

func (c counts) total() int { return c.hardened + c.normal + c.public }

// TestDerivationsEqualPeer walks down random trees and compares every key on
// the way, private and public, in all its fields: they are all in the strings.
func TestDerivationsEqualPeer(t *testing.T) {
	random := rand.New(rand.NewChaCha8([32]byte([]byte("bip32 against hdkeychain, seed 1"))))
	var done counts
	for done.total() < derivations {
		current := newMaster(t, random)
		for range 1 + random.IntN(maxDepth) {
			if done.total() == derivations {
				break
			}
			index := random.Uint32()
			if current.private == nil {
				index %= bip32.Hardened
			}
			current = current.child(t, index, &done)
			if current.private != nil && random.IntN(4) == 0 {
				current = current.neuter(t) // public from here on
			}
		}
	}
	t.Logf("compared %+v", done)
	if done.total() != derivations {
		t.Errorf("%d derivations, want %d", done.total(), derivations)
	}
	if done.hardened < 1000 || done.normal < 1000 || done.public < 1000 || done.shortHardened < 5 {
		t.Errorf("a kind of derivation is rare: %+v", done)
	}
}

func newMaster(t testing.TB, random *rand.Rand) pair {
	t.Helper()
	seed := make([]byte, 16+random.IntN(49))
	for i := range seed {
		seed[i] = byte(random.Uint32())
	}
	private, err := bip32.NewBitcoinMaster(seed)
	if err != nil {
		t.Fatalf("seed %x: %v", seed, err)
	}
	peer, err := hdkeychain.NewMaster(seed, &chaincfg.MainNetParams)
	if err != nil {
		t.Fatalf("seed %x: %v", seed, err)
	}
	p := pair{private: private, public: private.Public(), peer: peer}
	p.compare(t)
	return p
}

// child derives on both sides and counts.
func (p pair) child(t *testing.T, index uint32, done *counts) pair {
	t.Helper()
	peer, err := p.peer.Derive(index)
	if err != nil {
		t.Fatalf("peer: child %d of %s: %v", index, p.peer, err)
	}
	child := pair{peer: peer}
	switch {
	case p.private == nil:
		done.public++
		child.public, err = p.public.Child(index)
	case index >= bip32.Hardened:
		done.hardened++
		if p.private.Bytes()[0] == 0 {
			done.shortHardened++
		}
		child.private, err = p.private.Child(index)
	default:
		done.normal++
		child.private, err = p.private.Child(index)
	}
	if err != nil {
		t.Fatalf("child %d of %s: %v", index, p.peer, err)
	}
	if child.private != nil {
		child.public = child.private.Public()
	}
	child.compare(t)
	return child
}

// neuter drops the private key on both sides.
func (p pair) neuter(t *testing.T) pair {
	t.Helper()
	peer, err := p.peer.Neuter()
	if err != nil {
		t.Fatal(err)
	}
	public := pair{public: p.public, peer: peer}
	public.compare(t)
	return public
}

func (p pair) compare(t testing.TB) {
	t.Helper()
	ours := p.public.Encode()
	if p.private != nil {
		ours = p.private.Encode()
	}
	if peer := p.peer.String(); ours != peer {
		t.Fatalf("keys differ\nours %s\npeer %s", ours, peer)
	}
}

// BenchmarkChild derives a child with its public key, in turns with the peer.
// Its own figure is ours alone; the metric is our time as a multiple of the
// peer's. The peer multiplies secret scalars in variable time.
func BenchmarkChild(b *testing.B) {
	random := rand.New(rand.NewChaCha8([32]byte([]byte("bip32 against hdkeychain, seed 2"))))
	master := newMaster(b, random)
	peerPublic, err := master.peer.Neuter()
	if err != nil {
		b.Fatal(err)
	}
	private := func(offset uint32) [2]func(uint32) error {
		return [2]func(uint32) error{
			func(i uint32) error {
				k, err := master.private.Child(i + offset)
				if err != nil {
					return err
				}
				k.Public()
				return nil
			},
			func(i uint32) error {
				k, err := master.peer.Derive(i + offset)
				if err != nil {
					return err
				}
				_, err = k.Neuter()
				return err
			},
		}
	}
	for _, bench := range []struct {
		name string
		run  [2]func(uint32) error
	}{
		{"private/hardened", private(bip32.Hardened)},
		{"private/normal", private(0)},
		{"public", [2]func(uint32) error{
			func(i uint32) error { _, err := master.public.Child(i); return err },
			func(i uint32) error { _, err := peerPublic.Derive(i); return err },
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			var spent [2]time.Duration
			index := uint32(0)
			for b.Loop() {
				for side, run := range bench.run {
					start := time.Now()
					if err := run(index); err != nil {
						b.Fatal(err)
					}
					spent[side] += time.Since(start)
				}
				index++
			}
			b.ReportMetric(float64(spent[0].Nanoseconds())/float64(index), "ns/op")
			b.ReportMetric(float64(spent[0])/float64(spent[1]), "×peer")
		})
	}
}

package credential

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

var testBinding = Binding{
	Kind:    "credential-share",
	Account: [32]byte{0xac, 0xc0},
	Epoch:   3,
	Object:  bytes.Repeat([]byte{0x51}, 16),
	Version: 2,
	Sender:  7,
}

// fixed is a source of the same bytes at each run.
func fixed(seed byte) io.Reader { return mathrand.NewChaCha8([32]byte{seed}) }

// public is what the ledger holds of a split.
func public(s *Shares) *recordv1.SplitSecret {
	return &recordv1.SplitSecret{
		Tag:             s.Tag[:],
		DeviceShareHash: s.Hashes[0][:],
		ServerShareHash: s.Hashes[1][:],
		BackupShareHash: s.Hashes[2][:],
	}
}

func mustSplit(t testing.TB, rand io.Reader, record []byte, b Binding) *Shares {
	t.Helper()
	s, err := Split(rand, record, b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestSplitByHand makes a split from the specification's words, with nothing of
// this package: k = 00 01 … 1f, coefficients all 1, so that the share at x is the
// secret with x added to every byte.
func TestSplitByHand(t *testing.T) {
	k := make([]byte, 32)
	for i := range k {
		k[i] = byte(i)
	}
	padded := slices.Concat([]byte("hunter2"), []byte{0x80}, make([]byte, 56))
	secret := slices.Concat(k, padded)

	context := slices.Concat(
		[]byte("zeropass/v1/credential-share\x00"),
		[]byte{0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1},        // suite
		[]byte{0, 0, 0, 32, 0xac, 0xc0}, make([]byte, 30), // account
		[]byte{0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 3},          // epoch
		[]byte{0, 0, 0, 16}, bytes.Repeat([]byte{0x51}, 16), // object
		[]byte{0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2}, // version
		[]byte{0, 0, 0, 3}, []byte("tag"),          // role
		[]byte{0, 0, 0, 8}, []byte("device/7"), []byte{0, 0, 0, 0}, // sender, recipient
	)
	mac := hmac.New(sha256.New, k)
	mac.Write(context)
	mac.Write(padded)
	wantTag := mac.Sum(nil)

	s := mustSplit(t, bytes.NewReader(slices.Concat(k, bytes.Repeat([]byte{1}, len(secret)))), []byte("hunter2"), testBinding)
	if !bytes.Equal(s.Tag[:], wantTag) {
		t.Errorf("tag %x, want %x", s.Tag, wantTag)
	}
	for i, got := range [][]byte{s.Share(Device), s.Share(Server), s.Share(Backup)} {
		x := byte(i + 1)
		want := make([]byte, 0, len(secret)+1)
		for _, b := range secret {
			want = append(want, b^x)
		}
		want = append(want, x)
		if !bytes.Equal(got, want) {
			t.Errorf("share %d is %x, want %x", x, got, want)
		}
		if hash := sha256.Sum256(want); s.Hashes[i] != hash {
			t.Errorf("hash %d is %x, want %x", x, s.Hashes[i], hash)
		}
	}
	// Computed by another program; ledgers keep tags forever.
	if golden := unhex(t, "68667668643a7a68fd6ad11c1bfc6e0d7b8b548395804fef9a34fd9543c64ace"); !bytes.Equal(wantTag, golden) {
		t.Errorf("tag %x, want %x", wantTag, golden)
	}
}

func TestPropertyAnyTwoSharesRecover(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		record := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "record")
		size := 32 + 32 + PaddedSize(len(record))
		random := rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "random")
		s, err := Split(bytes.NewReader(random), record, testBinding)
		if err != nil {
			t.Fatal(err)
		}
		all := [][]byte{s.Share(Device), s.Share(Server), s.Share(Backup)}
		given := rapid.Permutation(all).Draw(t, "order")[:rapid.IntRange(2, 3).Draw(t, "count")]
		got, err := Combine(testBinding, public(s), given...)
		if err != nil || !bytes.Equal(got, record) {
			t.Fatalf("got %x, %v, want %x", got, err, record)
		}
		for i, share := range all {
			third, err := ThirdShare(all[(i+1)%3], all[(i+2)%3], Party(i+1))
			if err != nil || !bytes.Equal(third, share) {
				t.Fatalf("share %d interpolated to %x, %v, want %x", i+1, third, err, share)
			}
		}
	})
}

// wrongParties returns the parties that an error names.
func wrongParties(err error) []Party {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var parties []Party
		for _, e := range joined.Unwrap() {
			parties = append(parties, wrongParties(e)...)
		}
		return parties
	}
	if wrong := (*WrongShareError)(nil); errors.As(err, &wrong) {
		return []Party{wrong.Party}
	}
	return nil
}

func TestPropertyEveryWrongShareIsNamed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		record := rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "record")
		s, err := Split(rand.Reader, record, testBinding)
		if err != nil {
			t.Fatal(err)
		}
		all := [][]byte{s.Share(Device), s.Share(Server), s.Share(Backup)}
		order := rapid.Permutation([]Party{Device, Server, Backup}).Draw(t, "order")[:rapid.IntRange(2, 3).Draw(t, "count")]
		var given [][]byte
		var want []Party
		for _, p := range order {
			share := bytes.Clone(all[p-1])
			switch rapid.IntRange(0, 3).Draw(t, "fault") {
			case 0:
				bit := rapid.IntRange(0, 8*(len(share)-1)-1).Draw(t, "bit")
				share[bit/8] ^= 1 << (bit % 8)
				want = append(want, p)
			case 1:
				share = append(share[:rapid.IntRange(0, len(share)-2).Draw(t, "cut")], byte(p))
				want = append(want, p)
			}
			given = append(given, share)
		}
		got, err := Combine(testBinding, public(s), given...)
		if len(want) == 0 {
			if err != nil || !bytes.Equal(got, record) {
				t.Fatalf("got %x, %v", got, err)
			}
			return
		}
		if got != nil || !slices.Equal(wrongParties(err), want) {
			t.Fatalf("got %x, %v, want %v named", got, err, want)
		}
	})
}

func TestWrongShareErrorIsFound(t *testing.T) {
	s := mustSplit(t, fixed(1), []byte("record"), testBinding)
	bad := bytes.Clone(s.Share(Server))
	bad[0] ^= 1
	_, err := Combine(testBinding, public(s), s.Share(Device), bad)
	var wrong *WrongShareError
	if !errors.As(err, &wrong) || wrong.Party != Server {
		t.Fatalf("%v", err)
	}
	if got, err := Combine(testBinding, public(s), s.Share(Device), s.Share(Backup)); err != nil || string(got) != "record" {
		t.Fatalf("without the wrong share: %q, %v", got, err)
	}
}

func TestCombineRefusesOtherPlaces(t *testing.T) {
	s := mustSplit(t, fixed(1), []byte("record"), testBinding)
	for _, c := range []struct {
		name   string
		change func(*Binding)
	}{
		{"kind", func(b *Binding) { b.Kind = "waiting-share" }},
		{"account", func(b *Binding) { b.Account[31] ^= 1 }},
		{"epoch", func(b *Binding) { b.Epoch++ }},
		{"object", func(b *Binding) { b.Object = bytes.Repeat([]byte{0x52}, 16) }},
		{"version", func(b *Binding) { b.Version-- }},
		{"device", func(b *Binding) { b.Sender = 1 }},
	} {
		b := testBinding
		c.change(&b)
		if got, err := Combine(b, public(s), s.Share(Device), s.Share(Server)); got != nil || !errors.Is(err, ErrTag) {
			t.Errorf("another %s: %x, %v", c.name, got, err)
		}
	}
}

func TestCombineRefuses(t *testing.T) {
	s := mustSplit(t, fixed(1), []byte("record"), testBinding)
	other := mustSplit(t, fixed(2), []byte("record"), testBinding)
	noTag, otherTag := public(s), public(s)
	noTag.Tag, otherTag.Tag = nil, other.Tag[:]

	tiny := [][]byte{{5, 1}, {6, 2}} // hashes as named, but no secret that Split makes
	tinyHash1, tinyHash2 := sha256.Sum256(tiny[0]), sha256.Sum256(tiny[1])
	ofTiny := &recordv1.SplitSecret{Tag: s.Tag[:], DeviceShareHash: tinyHash1[:], ServerShareHash: tinyHash2[:]}

	for _, c := range []struct {
		name   string
		split  *recordv1.SplitSecret
		shares [][]byte
		want   error
	}{
		{"no share", public(s), nil, ErrShares},
		{"one share", public(s), [][]byte{s.Share(Device)}, ErrShares},
		{"four shares", public(s), [][]byte{s.Share(Device), s.Share(Server), s.Share(Backup), s.Share(Device)}, ErrShares},
		{"one share twice", public(s), [][]byte{s.Share(Device), s.Share(Device)}, ErrShares},
		{"an empty share", public(s), [][]byte{s.Share(Device), {}}, ErrShares},
		{"a share of party 0", public(s), [][]byte{s.Share(Device), append(bytes.Clone(s.Share(Server)[:len(s.Share(Server))-1]), 0)}, ErrShares},
		{"a share of party 4", public(s), [][]byte{s.Share(Device), append(bytes.Clone(s.Share(Server)[:len(s.Share(Server))-1]), 4)}, ErrShares},
		{"no tag", noTag, [][]byte{s.Share(Device), s.Share(Server)}, ErrTag},
		{"another tag", otherTag, [][]byte{s.Share(Device), s.Share(Server)}, ErrTag},
		{"shares too short for a key", ofTiny, tiny, ErrTag},
	} {
		if got, err := Combine(testBinding, c.split, c.shares...); got != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %x, %v, want %v", c.name, got, err, c.want)
		}
	}

	// A share of another split of the same record is wrong, whoever gives it.
	if _, err := Combine(testBinding, public(s), s.Share(Device), other.Share(Server)); !slices.Equal(wrongParties(err), []Party{Server}) {
		t.Errorf("a share of another split: %v", err)
	}
	// Without a record there is nothing that a share could be right for.
	if _, err := Combine(testBinding, nil, s.Share(Device), s.Share(Server)); !slices.Equal(wrongParties(err), []Party{Device, Server}) {
		t.Errorf("no record: %v", err)
	}
}

// A right tag over a record that Pad did not pad can only come from a program
// that made it wrongly.
func TestCombineRefusesWrongPadding(t *testing.T) {
	secret := make([]byte, 32+64) // k = 0, and 64 bytes without a mark
	share1 := append(bytes.Repeat([]byte{1}, len(secret)), 1)
	share2 := append(bytes.Repeat([]byte{2}, len(secret)), 2)
	hash1, hash2 := sha256.Sum256(share1), sha256.Sum256(share2)
	split := &recordv1.SplitSecret{Tag: tag(secret, testBinding), DeviceShareHash: hash1[:], ServerShareHash: hash2[:]}
	if got, err := Combine(testBinding, split, share1, share2); got != nil || !errors.Is(err, ErrPadding) {
		t.Errorf("%x, %v", got, err)
	}
}

func TestThirdShareRefuses(t *testing.T) {
	s := mustSplit(t, fixed(1), []byte("record"), testBinding)
	for _, c := range []struct {
		name string
		a, b []byte
		x    Party
	}{
		{"the party of one given", s.Share(Device), s.Share(Server), Device},
		{"no party", s.Share(Device), s.Share(Server), 0},
		{"party 4", s.Share(Device), s.Share(Server), 4},
		{"one share twice", s.Share(Device), s.Share(Device), Backup},
		{"lengths that differ", s.Share(Device), s.Share(Server)[1:], Backup},
		{"nothing", nil, s.Share(Server), Backup},
		{"a share of party 9", append(bytes.Clone(s.Share(Device)), 9), append(bytes.Clone(s.Share(Server)), 2), Backup},
	} {
		if got, err := ThirdShare(c.a, c.b, c.x); got != nil || !errors.Is(err, ErrShares) {
			t.Errorf("%s: %x, %v", c.name, got, err)
		}
	}
}

// Whatever the record is, one share alone takes every value equally often: byte
// by byte it runs through all 256 while the coefficient does, k's bytes included.
func TestOneShareIsIndependentOfTheRecord(t *testing.T) {
	for _, record := range [][]byte{nil, []byte("password"), bytes.Repeat([]byte{0xff}, 63)} {
		var seen [3][96][256]bool
		for c := range 256 {
			random := append(bytes.Repeat([]byte{0x17}, 32), bytes.Repeat([]byte{byte(c)}, 96)...)
			s := mustSplit(t, bytes.NewReader(random), record, testBinding)
			for i, share := range [][]byte{s.Share(Device), s.Share(Server), s.Share(Backup)} {
				for j, b := range share[:len(share)-1] {
					if seen[i][j][b] {
						t.Fatalf("share %d, byte %d takes the value %#02x twice", i+1, j, b)
					}
					seen[i][j][b] = true
				}
			}
		}
	}
}

// Two splits of one record in one place have nothing in common: neither tag nor
// hash is a function of the record alone. And with everything else equal, the tag
// and every hash change with k.
func TestTagAndHashesDependOnKey(t *testing.T) {
	record := []byte("record")
	coefficients := make([]byte, 96)
	one := mustSplit(t, bytes.NewReader(append(bytes.Repeat([]byte{1}, 32), coefficients...)), record, testBinding)
	two := mustSplit(t, bytes.NewReader(append(bytes.Repeat([]byte{2}, 32), coefficients...)), record, testBinding)
	if one.Tag == two.Tag {
		t.Error("one tag for two keys")
	}
	for i := range one.Hashes {
		if one.Hashes[i] == two.Hashes[i] {
			t.Errorf("one hash of the %s share for two keys", Party(i+1))
		}
	}
	if one.Share(0) != nil || one.Share(4) != nil || one.Hash(0) != nil || one.Hash(4) != nil {
		t.Error("a party that there is not has a share")
	}

	// Record lengths of one size step show in nothing public.
	short := mustSplit(t, fixed(1), []byte("1234"), testBinding)
	long := mustSplit(t, fixed(1), bytes.Repeat([]byte{'x'}, 63), testBinding)
	if len(short.Share(Device)) != len(long.Share(Device)) || len(short.Share(Device)) != 32+64+1 {
		t.Errorf("shares of %d and %d bytes", len(short.Share(Device)), len(long.Share(Device)))
	}
}

// failing yields so many bytes and then an error.
type failing struct {
	rand io.Reader
	left int
}

var errSource = errors.New("source of randomness is broken")

func (f *failing) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, errSource
	}
	n, err := f.rand.Read(p[:min(len(p), f.left)])
	f.left -= n
	return n, err
}

func TestSplitReportsRand(t *testing.T) {
	for left := range 32 + 96 {
		s, err := Split(&failing{fixed(1), left}, []byte("record"), testBinding)
		if s != nil || !errors.Is(err, errSource) {
			t.Fatalf("after %d bytes: %v, %v", left, s, err)
		}
	}
	mustSplit(t, &failing{fixed(1), 32 + 96}, []byte("record"), testBinding)
}

func FuzzCombine(f *testing.F) {
	s := mustSplit(f, fixed(1), []byte("record"), testBinding)
	f.Add(s.Share(Device), s.Share(Server), s.Tag[:])
	f.Add(s.Share(Backup), s.Share(Server), s.Tag[:])
	f.Add([]byte{1}, []byte{2}, []byte{})
	f.Add([]byte{1, 1}, []byte{2}, []byte{})
	// Hashes are computed here, so that the fuzzer comes past them.
	f.Fuzz(func(t *testing.T, a, b, tag []byte) {
		split := &recordv1.SplitSecret{Tag: tag}
		for _, share := range [][]byte{a, b} {
			hash := sha256.Sum256(share)
			if len(share) > 0 {
				switch Party(share[len(share)-1]) {
				case Device:
					split.DeviceShareHash = hash[:]
				case Server:
					split.ServerShareHash = hash[:]
				case Backup:
					split.BackupShareHash = hash[:]
				}
			}
		}
		record, err := Combine(testBinding, split, a, b)
		if err != nil && record != nil {
			t.Fatalf("%x beside %v", record, err)
		}
		if err == nil && !bytes.Equal(tag, s.Tag[:]) {
			t.Fatalf("record %x for tag %x", record, tag)
		}
	})
}

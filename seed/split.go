package seed

import (
	"fmt"
	"io"

	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

// Groups of the split, as SLIP-39 counts them.
const (
	GroupServer   = 0
	GroupDevices  = 1
	GroupContacts = 2
	GroupSheet    = 3

	groupThreshold = 2
)

// MaxMembers is the greatest number of contacts, SLIP-39's.
const MaxMembers = 16

// Split is a seed in shares. Erase it after use. Its shares print as [secret].
type Split struct {
	Identifier uint16 // 15 bits, in every share
	Server     *slip39.Share
	Device     *slip39.Share
	Members    []*slip39.Share // member m at m-1
	Sheet      *slip39.Share   // nil without a sheet
}

// Split splits the seed: quorum of members for group 2, which is
// 2 ≤ quorum ≤ members ≤ 16 or 1 of 1, and group 3 if there is to be a sheet. The
// seed stays as it is.
//
// It returns [ErrErased], an error that wraps [ErrInput], or rand's.
func (s *Seed) Split(rand io.Reader, quorum, members int, sheet bool) (*Split, error) {
	if s.erased() {
		return nil, ErrErased
	}
	oneOfOne := quorum == 1 && members == 1
	if !oneOfOne && (quorum < 2 || quorum > members || members > MaxMembers) {
		return nil, fmt.Errorf("%w: a quorum of %d of %d contacts, want 2 ≤ k ≤ n ≤ %d, or 1 of 1", ErrInput, quorum, members, MaxMembers)
	}
	groups := []slip39.Group{
		GroupServer:   {Threshold: 1, Count: 1},
		GroupDevices:  {Threshold: 1, Count: 1},
		GroupContacts: {Threshold: quorum, Count: members},
	}
	if sheet {
		groups = append(groups, slip39.Group{Threshold: 1, Count: 1})
	}
	identifier, err := slip39.NewIdentifier(rand)
	if err != nil {
		return nil, fmt.Errorf("seed: split: %w", err)
	}
	shares, err := slip39.Split(rand, s.secret().bytes[:], nil, slip39.Params{
		Identifier:     identifier,
		Extendable:     true,
		GroupThreshold: groupThreshold,
		Groups:         groups,
	})
	if err != nil {
		return nil, fmt.Errorf("seed: split: %w", err)
	}
	split := &Split{
		Identifier: identifier,
		Server:     shares[GroupServer][0],
		Device:     shares[GroupDevices][0],
		Members:    shares[GroupContacts],
	}
	if sheet {
		split.Sheet = shares[GroupSheet][0]
	}
	return split, nil
}

// Erase erases all shares.
func (s *Split) Erase() {
	for _, share := range append([]*slip39.Share{s.Server, s.Device, s.Sheet}, s.Members...) {
		if share != nil {
			share.Erase()
		}
	}
}

// ShareKey derives the key of a contact's share, with which whoever holds the
// share signs approvals, receipts and attestations: [signing.DeriveKey] of the
// share's value of 64 bytes, in the context "share-key" with account, epoch and
// member, counted from 1.
//
// A share that is not this member's of group 2 is an error that wraps [ErrInput].
func ShareKey(share *slip39.Share, account [32]byte, epoch, member uint64) (*signing.PrivateKey, error) {
	value := share.Value()
	defer clear(value)
	if len(value) != Size {
		return nil, fmt.Errorf("%w: a share of %d bytes, want %d", ErrInput, len(value), Size)
	}
	if share.GroupIndex() != GroupContacts || uint64(share.MemberIndex())+1 != member {
		return nil, fmt.Errorf("%w: a share of group %d, member %d; want group %d, member %d",
			ErrInput, share.GroupIndex(), share.MemberIndex()+1, GroupContacts, member)
	}
	c := signing.NewContext("share-key").Bytes(account[:]).Uint(epoch).Uint(member)
	key, err := signing.DeriveKey(value, c)
	if err != nil {
		return nil, fmt.Errorf("seed: share key of member %d: %w", member, err)
	}
	return key, nil
}

// Recover finds the seed in whatever shares there are, right and wrong ones, in
// any order. The right seed is the one whose root key is root. The report says
// what is the matter with each share; it comes with most errors too, which are
// those of [slip39.Recover]. Without root, which is never guessed at, nothing is
// tried: that is an error that wraps [ErrInput].
func Recover(shares []*slip39.Share, root *signing.PublicKey) (*Seed, slip39.Report, error) {
	if root == nil {
		return nil, slip39.Report{}, fmt.Errorf("%w: no root key to compare with", ErrInput)
	}
	secret, report, err := slip39.Recover(shares, nil, func(secret []byte) bool {
		return hasRoot(secret, root)
	})
	if err != nil {
		return nil, report, fmt.Errorf("seed: recover: %w", err)
	}
	defer clear(secret)
	seed, err := New(secret[:HalfSize], secret[HalfSize:])
	if err != nil {
		return nil, report, err
	}
	return seed, report, nil
}

// hasRoot says whether secret is the seed with this root key.
func hasRoot(secret []byte, root *signing.PublicKey) bool {
	if len(secret) != Size {
		return false
	}
	seed, err := New(secret[:HalfSize], secret[HalfSize:])
	if err != nil {
		return false
	}
	defer seed.Erase()
	keys, err := seed.Keys()
	if err != nil {
		return false
	}
	defer keys.Erase()
	return keys.Root().PublicKey().Equal(root)
}

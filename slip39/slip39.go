package slip39

import (
	"fmt"
	"io"
	"slices"
)

// A Group is one group of members: any Threshold of its Count members, 1 to 16,
// give back the group's share. A Threshold of 1 goes with a Count of 1 only: the
// standard forbids handing out copies.
type Group struct{ Threshold, Count int }

// Params are the parameters of a split.
type Params struct {
	Identifier        uint16  // 15 bits, random (see NewIdentifier); says which shares belong together
	Extendable        bool    // keeps Identifier out of the encryption; true for new backups
	IterationExponent int     // 0 to 15: 10000·2^e iterations of PBKDF2 in all
	GroupThreshold    int     // how many groups are needed
	Groups            []Group // 1 to 16
}

// check returns an error that wraps ErrParams if the standard does not allow p.
func (p Params) check() error {
	switch {
	case p.Identifier >= 1<<15:
		return fmt.Errorf("%w: identifier has more than 15 bits", ErrParams)
	case p.IterationExponent < 0 || p.IterationExponent > 15:
		return fmt.Errorf("%w: iteration exponent %d, must be 0 to 15", ErrParams, p.IterationExponent)
	case len(p.Groups) < 1 || len(p.Groups) > maxShares:
		return fmt.Errorf("%w: %d groups, must be 1 to %d", ErrParams, len(p.Groups), maxShares)
	case p.GroupThreshold < 1 || p.GroupThreshold > len(p.Groups):
		return fmt.Errorf("%w: group threshold %d of %d groups", ErrParams, p.GroupThreshold, len(p.Groups))
	}
	for i, g := range p.Groups {
		switch {
		case g.Count < 1 || g.Count > maxShares || g.Threshold < 1 || g.Threshold > g.Count:
			return fmt.Errorf("%w: group %d is %d of %d", ErrParams, i, g.Threshold, g.Count)
		case g.Threshold == 1 && g.Count > 1:
			return fmt.Errorf("%w: group %d is 1 of %d, which the standard forbids; use 1 of 1", ErrParams, i, g.Count)
		}
	}
	return nil
}

// NewIdentifier returns a random identifier of 15 bits.
func NewIdentifier(rand io.Reader) (uint16, error) {
	b, err := randomBytes(rand, 2)
	if err != nil {
		return 0, err
	}
	return (uint16(b[0])<<8 | uint16(b[1])) & 0x7fff, nil
}

// Split encrypts the secret under the passphrase, which may be empty, and splits
// it. shares[g][m] is the share of member m of group g. The secret has an even
// number of bytes, MinSecretSize to MaxSecretSize, and must be uniformly random
// (see the package documentation); Split does not change it.
//
// From rand it reads (t-1)·len(secret)-4 bytes for each threshold t of at least 2:
// first for the groups, then for the members of each group in turn.
//
// It returns ErrParams, ErrSecretLength, ErrPassphrase or the error of rand.
func Split(rand io.Reader, secret, passphrase []byte, p Params) (shares [][]*Share, err error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if n := len(secret); n < MinSecretSize || n > MaxSecretSize || n%2 != 0 {
		return nil, fmt.Errorf("%w: %d bytes, must be even and %d to %d", ErrSecretLength, n, MinSecretSize, MaxSecretSize)
	}
	set := setParams{
		identifier:        p.Identifier,
		extendable:        p.Extendable,
		iterationExponent: p.IterationExponent,
		groupThreshold:    p.GroupThreshold,
		groupCount:        len(p.Groups),
		size:              len(secret),
	}

	encrypted, err := encrypt(secret, passphrase, set)
	if err != nil {
		return nil, err
	}
	defer clear(encrypted)
	groupShares, err := splitValue(rand, encrypted, p.GroupThreshold, len(p.Groups))
	if err != nil {
		return nil, err
	}
	defer eraseAll(groupShares)

	for g, group := range p.Groups {
		values, err := splitValue(rand, groupShares[g], group.Threshold, group.Count)
		if err != nil {
			for _, members := range shares {
				for _, s := range members {
					s.Erase()
				}
			}
			return nil, err
		}
		members := make([]*Share, len(values))
		for m, value := range values {
			members[m] = &Share{set: set, groupIndex: g, memberIndex: m, memberThreshold: group.Threshold, value: &value}
		}
		shares = append(shares, members)
	}
	return shares, nil
}

// Combine returns the secret that the shares give under the passphrase. It is as
// strict as the standard ("Combining the shares"): exactly the threshold of groups,
// and exactly the threshold of different members of each, in any order.
//
// It returns ErrNoShares, ErrErased, an error that wraps ErrMixedSets,
// ErrDuplicateMember, ErrTooFewGroups, ErrTooManyGroups, ErrTooFewMembers,
// ErrTooManyMembers, ErrDigest or ErrPassphrase. A wrong passphrase is no error: it
// gives another secret. The time it takes doubles with each step of the iteration
// exponent that the shares name.
func Combine(shares []*Share, passphrase []byte) ([]byte, error) {
	groupXs, groupYs, err := groupShares(shares)
	if err != nil {
		return nil, err
	}
	defer eraseAll(groupYs)
	encrypted, err := recoverValue(groupXs, groupYs)
	if err != nil {
		return nil, fmt.Errorf("%w: the groups among each other", err)
	}
	defer clear(encrypted)
	return decrypt(encrypted, passphrase, shares[0].set)
}

// RestoreGroup returns the lost share of a group of 1 of 1, the same as Split made
// it, from the shares that give the secret; group counts from 0. It needs no
// passphrase.
//
// The errors are those of Combine, and ErrParams for a group that is among those
// given or that the set does not have. That the group was 1 of 1 no share says:
// compare the result with something public.
func RestoreGroup(shares []*Share, group int) (*Share, error) {
	groupXs, groupYs, err := groupShares(shares)
	if err != nil {
		return nil, err
	}
	defer eraseAll(groupYs)
	set := shares[0].set
	if group < 0 || group >= set.groupCount || slices.Contains(groupXs, byte(group)) {
		return nil, fmt.Errorf("%w: group %d of %d is not one to restore", ErrParams, group, set.groupCount)
	}
	encrypted, err := recoverValue(groupXs, groupYs)
	if err != nil {
		return nil, fmt.Errorf("%w: the groups among each other", err)
	}
	clear(encrypted)
	value, err := valueAt(byte(group), groupXs, groupYs)
	if err != nil {
		return nil, err
	}
	return &Share{set: set, groupIndex: group, memberThreshold: 1, value: &value}, nil
}

// groupShares returns the group shares that exactly the threshold of groups, of
// each exactly the threshold of members, give.
func groupShares(shares []*Share) (xs []byte, ys [][]byte, err error) {
	groups, err := sortIntoGroups(shares)
	if err != nil {
		return nil, nil, err
	}
	if err := checkComplete(groups, shares[0].set); err != nil {
		return nil, nil, err
	}
	for g, members := range groups {
		if len(members) == 0 {
			continue
		}
		var memberXs []byte
		var memberYs [][]byte
		for _, s := range members {
			memberXs, memberYs = append(memberXs, byte(s.memberIndex)), append(memberYs, s.bytes())
		}
		y, err := recoverValue(memberXs, memberYs)
		if err != nil {
			eraseAll(ys)
			return nil, nil, fmt.Errorf("%w: group %d", err, g)
		}
		xs, ys = append(xs, byte(g)), append(ys, y)
	}
	return xs, ys, nil
}

// sortIntoGroups returns the shares by group index, after checking that each has
// its place in one set.
func sortIntoGroups(shares []*Share) (groups [maxShares][]*Share, err error) {
	if len(shares) == 0 {
		return groups, ErrNoShares
	}
	for i, s := range shares {
		if err := s.usable(); err != nil {
			return groups, fmt.Errorf("%w: share %d of %d given", err, i+1, len(shares))
		}
		if err := s.set.compare(shares[0].set); err != nil {
			return groups, err
		}
		group := groups[s.groupIndex]
		for _, other := range group {
			if other.memberThreshold != s.memberThreshold {
				return groups, fmt.Errorf("%w: group %d", ErrThresholdMismatch, s.groupIndex)
			}
			if other.memberIndex == s.memberIndex {
				return groups, fmt.Errorf("%w: member %d of group %d", ErrDuplicateMember, s.memberIndex, s.groupIndex)
			}
		}
		groups[s.groupIndex] = append(group, s)
	}
	return groups, nil
}

// compare says which parameter makes two shares belong to different sets.
func (p setParams) compare(q setParams) error {
	switch {
	case p.identifier != q.identifier:
		return ErrIdentifierMismatch
	case p.extendable != q.extendable:
		return ErrExtendableMismatch
	case p.iterationExponent != q.iterationExponent:
		return ErrExponentMismatch
	case p.groupThreshold != q.groupThreshold:
		return ErrGroupThresholdMismatch
	case p.groupCount != q.groupCount:
		return ErrGroupCountMismatch
	case p.size != q.size:
		return ErrValueLengthMismatch
	}
	return nil
}

// checkComplete checks the numbers of groups and of members.
func checkComplete(groups [maxShares][]*Share, set setParams) error {
	present := 0
	for _, members := range groups {
		if len(members) > 0 {
			present++
		}
	}
	if present < set.groupThreshold {
		return fmt.Errorf("%w: %d of %d", ErrTooFewGroups, present, set.groupThreshold)
	}
	if present > set.groupThreshold {
		return fmt.Errorf("%w: %d, exactly %d are needed", ErrTooManyGroups, present, set.groupThreshold)
	}
	for g, members := range groups {
		if len(members) == 0 {
			continue
		}
		if need := members[0].memberThreshold; len(members) < need {
			return fmt.Errorf("%w: %d of %d in group %d", ErrTooFewMembers, len(members), need, g)
		} else if len(members) > need {
			return fmt.Errorf("%w: %d, exactly %d are needed in group %d", ErrTooManyMembers, len(members), need, g)
		}
	}
	return nil
}

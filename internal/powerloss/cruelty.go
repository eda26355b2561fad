package powerloss

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
)

// way is how a power cut treats what was not synced.
type way int

const (
	each    way = iota // each thing on its own
	nothing            // of it is kept
	all                // of it is kept
	first              // so many changes are kept, and of the next one each sector on its own
)

func (w way) String() string {
	return [...]string{"each change on its own", "nothing unsynced kept", "everything kept", "kept in order up to a change"}[w]
}

// cruelty chooses what survives a power cut.
type cruelty struct {
	chance *rand.Rand
	how    way
	until  int // number of the last change that is kept, for first
}

// newCruelty draws one for the changes since a number, up to another.
func newCruelty(chance *rand.Rand, since, now int) cruelty {
	// Each thing on its own is what finds most.
	c := cruelty{chance: chance, how: []way{each, each, each, nothing, all, first}[chance.IntN(6)]}
	if now > since {
		c.until = since + chance.IntN(now-since)
	}
	return c
}

// pick returns which of some changes of one thing, oldest first, is the last to
// reach the disk; -1 for none.
func (c cruelty) pick(changes []int) int {
	switch c.how {
	case nothing:
		return -1
	case all:
		return len(changes) - 1
	case first:
		last := -1
		for i, at := range changes {
			if at <= c.until || at == c.until+1 && c.chance.IntN(2) == 0 {
				last = i
			}
		}
		return last
	}
	return c.chance.IntN(len(changes)+1) - 1
}

// keeps says whether one change reaches the disk.
func (c cruelty) keeps(change int) bool { return c.pick([]int{change}) == 0 }

// sortedKeys makes chance the same each time.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

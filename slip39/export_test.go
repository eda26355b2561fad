package slip39

// WithThreshold returns a copy of the share that names another member threshold,
// as a holder may write one by hand.
func (s *Share) WithThreshold(threshold int) *Share {
	forged := *s
	value := s.Value()
	forged.value = &value
	forged.memberThreshold = threshold
	return &forged
}

// WordList is the word list, for tests that substitute words.
var WordList = wordList

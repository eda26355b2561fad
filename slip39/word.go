package slip39

// Word returns a word of the standard's list by its index of 10 bits, for those
// who show other things than shares in these words. It panics on an index beyond
// 1023.
func Word(index uint16) string { return wordList[index] }

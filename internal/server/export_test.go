package server

// OpenEncrypted opens what stands encrypted in a store.
var OpenEncrypted = openEncrypted

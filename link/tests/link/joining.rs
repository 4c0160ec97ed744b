//! What a server that is not the fleet's learns of a token: nothing.
